//! Any table's rows as JSON values, without knowing the table: for `inspect` and `explain`.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int64Type, UInt32Type, UInt64Type};
use serde_json::{Map, Value, json};

/// The row at `index`; bytes become their size and digest.
pub(crate) fn row(batch: &RecordBatch, index: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns.map(|(field, column)| (field.name().clone(), cell(field.name(), column.as_ref(), index))).collect()
}

fn cell(name: &str, column: &dyn Array, index: usize) -> Value {
    if column.is_null(index) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(index)),
        // Hashes are read as hex everywhere else.
        DataType::UInt64 if name == "phash" => {
            Value::from(format!("{:016x}", column.as_primitive::<UInt64Type>().value(index)))
        }
        DataType::UInt64 => Value::from(column.as_primitive::<UInt64Type>().value(index)),
        DataType::UInt32 => Value::from(column.as_primitive::<UInt32Type>().value(index)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(index)),
        DataType::Float32 => Value::from(column.as_primitive::<Float32Type>().value(index)),
        DataType::Float16 => Value::from(column.as_primitive::<Float16Type>().value(index).to_f32()),
        DataType::Boolean => Value::from(column.as_boolean().value(index)),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(index);
            json!({"bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().to_string()})
        }
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(index);
            Value::Array((0..values.len()).map(|position| cell("", values.as_ref(), position)).collect())
        }
        other => Value::from(format!("<{other}>")),
    }
}

/// A value as a terminal shows it: on one line, at most `width` characters.
pub(crate) fn short(value: &Value, width: usize) -> String {
    let text = match value {
        Value::String(text) => text.replace(['\n', '\r', '\t'], " "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_at_characters() {
        assert_eq!(short(&Value::from("äöü\nß"), 4), "äöü…");
        assert_eq!(short(&json!([1, 2]), 10), "[1,2]");
    }
}
