//! JSON as Python's `json.dumps` writes it by default, in which MMC4's own shards are written.
//!
//! `", "` and `": "` between values; every character outside printable ASCII as `\uXXXX`, beyond the basic plane as
//! a surrogate pair; floats by `repr` of the double: the shortest digits that read back as the same number. A
//! single-precision number is widened first, as `float(numpy.float32(x))` is.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Appends `value` to `out`.
///
/// # Panics
/// If `value` is no JSON, such as a map with keys that are no text.
pub fn append(value: &impl Serialize, out: &mut Vec<u8>) {
    value.serialize(&mut Serializer::with_formatter(out, PythonStyle)).expect("plain JSON goes into memory");
}

/// `value` as one text.
///
/// # Panics
/// If `value` is no JSON.
pub fn text(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    append(value, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// What Python's encoder does otherwise than `serde_json`.
#[derive(Debug)]
struct PythonStyle;

impl PythonStyle {
    fn comma<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

impl Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::comma(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::comma(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut digits = Vec::new();
        // Of two shortest forms that are equally near, this takes the even one, as Python does and `{:?}` does not.
        CompactFormatter.write_f64(&mut digits, value)?;
        let digits = String::from_utf8(digits).expect("digits are ASCII");
        // Python writes from 1e-4 on without an exponent, and gives an exponent its sign and two digits.
        if (1e-5..1e-4).contains(&value.abs()) && !digits.contains('e') {
            let (sign, significant) = digits.split_once("0.0000").expect("the number is below 1e-4");
            let (first, rest) = significant.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            return write!(writer, "{sign}{first}{point}{rest}e-05");
        }
        let Some((mantissa, exponent)) = digits.split_once('e') else { return writer.write_all(digits.as_bytes()) };
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent.trim_start_matches('+')),
        };
        write!(writer, "{mantissa}e{sign}{exponent:0>2}")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let is_plain = |c: char| matches!(c, ' '..='~');
        let mut rest = fragment;
        while let Some(plain) = rest.find(|c| !is_plain(c)) {
            let (before, from) = rest.split_at(plain);
            writer.write_all(before.as_bytes())?;
            let mut chars = from.chars();
            let escaped = chars.next().expect("a character was found here");
            for unit in escaped.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn strings_are_ascii_with_surrogate_pairs() {
        // json.dumps of the same string in Python 3.
        let string = "a\"b\\c/\u{8}\u{c}\n\r\t\u{1}\u{1f} é\u{7f}\u{2028}\u{ffff}😀~";
        let expected = r#""a\"b\\c/\b\f\n\r\t\u0001\u001f \u00e9\u007f\u2028\uffff\ud83d\ude00~""#;
        assert_eq!(text(&string), expected);
    }

    #[test]
    fn floats_are_the_shortest_digits_of_the_widened_number() {
        // repr(float(numpy.float32(x))) for the singles, repr(x) for the doubles.
        let singles = [
            (0.1_f32, "0.10000000149011612"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.25, "-0.25"),
            // 788.07476806640625 exactly: between ...062 and ...063.
            (788.074_77, "788.0747680664062"),
        ];
        for (value, expected) in singles {
            assert_eq!(text(&value), expected);
        }
        let doubles = [
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.000_098_765, "-9.8765e-05"),
            (1.5e-7, "1.5e-07"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (5e-324, "5e-324"),
            (-0.0, "-0.0"),
        ];
        for (value, expected) in doubles {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn separators_have_a_space() {
        let map = BTreeMap::from([("a", vec![Some(1), None]), ("b", vec![])]);
        assert_eq!(text(&map), r#"{"a": [1, null], "b": []}"#);
    }
}
