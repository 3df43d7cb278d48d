//! Column types: how one value of a row crosses between Rust and Arrow.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Float16Array, Float32Array,
    Float32Builder, Int64Array, Int64Builder, ListArray, ListBuilder, PrimitiveBuilder, StringArray, StringBuilder,
    UInt32Array, UInt32Builder, UInt64Array, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Float16Type};

/// A type of column.
pub trait Cell: 'static {
    /// The Arrow array behind it.
    type Array: Array + Clone + Debug + 'static;
    /// Collects values.
    type Builder: Default + Debug + Send;
    /// One value, borrowed from the array.
    type Value<'a>: Clone + Debug + PartialEq;
    /// Whether null is a value.
    const NULLABLE: bool = false;
    /// The Arrow type.
    fn data_type() -> DataType;
    /// The value at `index`.
    fn get(array: &Self::Array, index: usize) -> Self::Value<'_>;
    /// Adds a value; returns roughly how many bytes it takes.
    fn append(builder: &mut Self::Builder, value: &Self::Value<'_>) -> usize;
    /// Takes what was collected.
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
}

macro_rules! scalar_cells {
    ($($(#[$doc:meta])* $cell:ident, $maybe:ident: $value:ty, $array:ty, $builder:ty, $data_type:expr, $bytes:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $cell;
        impl Cell for $cell {
            type Array = $array;
            type Builder = $builder;
            type Value<'a> = $value;
            fn data_type() -> DataType { $data_type }
            fn get(array: &$array, index: usize) -> $value { array.value(index) }
            fn append(builder: &mut $builder, value: &$value) -> usize {
                builder.append_value(*value);
                let bytes: fn(&$value) -> usize = $bytes;
                bytes(value)
            }
            fn finish(builder: &mut $builder) -> ArrayRef { Arc::new(builder.finish()) }
        }

        $(#[$doc])*
        ///
        /// Null where it does not apply.
        #[derive(Debug)]
        pub struct $maybe;
        impl Cell for $maybe {
            type Array = $array;
            type Builder = $builder;
            type Value<'a> = Option<$value>;
            const NULLABLE: bool = true;
            fn data_type() -> DataType { $data_type }
            fn get(array: &$array, index: usize) -> Option<$value> {
                (!array.is_null(index)).then(|| array.value(index))
            }
            fn append(builder: &mut $builder, value: &Option<$value>) -> usize {
                builder.append_option(*value);
                let bytes: fn(&$value) -> usize = $bytes;
                value.as_ref().map_or(1, bytes)
            }
            fn finish(builder: &mut $builder) -> ArrayRef { Arc::new(builder.finish()) }
        }
    )*};
}

scalar_cells! {
    /// Unsigned 32 bits.
    U32, MaybeU32: u32, UInt32Array, UInt32Builder, DataType::UInt32, |_| 4;
    /// Unsigned 64 bits.
    U64, MaybeU64: u64, UInt64Array, UInt64Builder, DataType::UInt64, |_| 8;
    /// Signed 64 bits.
    I64, MaybeI64: i64, Int64Array, Int64Builder, DataType::Int64, |_| 8;
    /// Single precision.
    F32, MaybeF32: f32, Float32Array, Float32Builder, DataType::Float32, |_| 4;
    /// True or false.
    Bool, MaybeBool: bool, BooleanArray, BooleanBuilder, DataType::Boolean, |_| 1;
}

macro_rules! borrowed_cells {
    ($($(#[$doc:meta])* $cell:ident, $maybe:ident: $value:ty, $array:ty, $builder:ty, $data_type:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $cell;
        impl Cell for $cell {
            type Array = $array;
            type Builder = $builder;
            type Value<'a> = &'a $value;
            fn data_type() -> DataType { $data_type }
            fn get(array: &$array, index: usize) -> &$value { array.value(index) }
            fn append(builder: &mut $builder, value: &&$value) -> usize {
                builder.append_value(value);
                value.len() + 4
            }
            fn finish(builder: &mut $builder) -> ArrayRef { Arc::new(builder.finish()) }
        }

        $(#[$doc])*
        ///
        /// Null where it does not apply.
        #[derive(Debug)]
        pub struct $maybe;
        impl Cell for $maybe {
            type Array = $array;
            type Builder = $builder;
            type Value<'a> = Option<&'a $value>;
            const NULLABLE: bool = true;
            fn data_type() -> DataType { $data_type }
            fn get(array: &$array, index: usize) -> Option<&$value> {
                (!array.is_null(index)).then(|| array.value(index))
            }
            fn append(builder: &mut $builder, value: &Option<&$value>) -> usize {
                builder.append_option(*value);
                value.map_or(0, <$value>::len) + 4
            }
            fn finish(builder: &mut $builder) -> ArrayRef { Arc::new(builder.finish()) }
        }
    )*};
}

borrowed_cells! {
    /// UTF-8 text.
    Text, MaybeText: str, StringArray, StringBuilder, DataType::Utf8;
    /// Bytes.
    Bytes, MaybeBytes: [u8], BinaryArray, BinaryBuilder, DataType::Binary;
}

/// A list of texts.
#[derive(Debug)]
pub struct Texts;
impl Cell for Texts {
    type Array = ListArray;
    type Builder = ListBuilder<StringBuilder>;
    type Value<'a> = Vec<&'a str>;
    fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
    }
    fn get(array: &ListArray, index: usize) -> Vec<&str> {
        let (start, end) = list_range(array, index);
        let values = array.values().as_any().downcast_ref::<StringArray>().expect("the column's declared type");
        (start..end).map(|position| values.value(position)).collect()
    }
    fn append(builder: &mut Self::Builder, value: &Vec<&str>) -> usize {
        let mut bytes = 4;
        for text in value {
            builder.values().append_value(text);
            bytes += text.len() + 4;
        }
        builder.append(true);
        bytes
    }
    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

macro_rules! number_lists {
    ($($(#[$doc:meta])* $cell:ident: $value:ty, $array:ty, $builder:ty, $data_type:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $cell;
        impl Cell for $cell {
            type Array = ListArray;
            type Builder = ListBuilder<$builder>;
            type Value<'a> = &'a [$value];
            fn data_type() -> DataType { DataType::List(Arc::new(Field::new_list_field($data_type, true))) }
            fn get(array: &ListArray, index: usize) -> &[$value] {
                let (start, end) = list_range(array, index);
                let values = array.values().as_any().downcast_ref::<$array>().expect("the column's declared type");
                &values.values()[start..end]
            }
            fn append(builder: &mut Self::Builder, value: &&[$value]) -> usize {
                builder.values().append_slice(value);
                builder.append(true);
                size_of_val(*value) + 4
            }
            fn finish(builder: &mut Self::Builder) -> ArrayRef { Arc::new(builder.finish()) }
        }
    )*};
}

number_lists! {
    /// A list of unsigned 32-bit numbers.
    U32s: u32, UInt32Array, UInt32Builder, DataType::UInt32;
    /// A list of single-precision numbers.
    Floats: f32, Float32Array, Float32Builder, DataType::Float32;
    /// A list of half-precision numbers.
    Halfs: half::f16, Float16Array, PrimitiveBuilder<Float16Type>, DataType::Float16;
}

fn list_range(array: &ListArray, index: usize) -> (usize, usize) {
    let offsets = array.value_offsets();
    let at = |position: usize| usize::try_from(offsets[position]).expect("list offsets are not negative");
    (at(index), at(index + 1))
}
