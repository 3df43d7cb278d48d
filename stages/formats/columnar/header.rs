//! Reads the header of a Parquet page: a struct in Thrift's compact protocol, as `parquet.thrift` declares it.
//!
//! The `parquet` package reads headers too, but tells no sizes before it allocates and inflates by them. Here they are
//! known first, so that a page of outside bytes meets its limits. Fields that are not needed are skipped; nesting is
//! followed [`DEPTH`] deep.

/// Structs and lists within each other, statistics of geometry included.
const DEPTH: u32 = 16;

/// What kind of page follows, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    /// Bytes of the page as stored.
    pub(super) compressed_bytes: usize,
    /// Bytes of the page once inflated.
    pub(super) uncompressed_bytes: usize,
    /// CRC-32 of the bytes as stored, where the writer gave one.
    pub(super) crc: Option<u32>,
    /// Bytes of this header.
    pub(super) header_bytes: usize,
}

/// Of a page, what its decoder needs. Encodings are the format's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary {
        values: u32,
        encoding: i32,
        is_sorted: bool,
    },
    Data {
        values: u32,
        encoding: i32,
        definition_encoding: i32,
        repetition_encoding: i32,
    },
    DataV2 {
        values: u32,
        nulls: u32,
        rows: u32,
        encoding: i32,
        definition_bytes: u32,
        repetition_bytes: u32,
        is_compressed: bool,
    },
    /// An index page, or one of a kind that is not known: to be passed over.
    Other,
}

/// Why the bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// They end inside it: more of them may help.
    CutOff,
    /// They break the protocol or the format.
    Bad(&'static str),
}

type Field<T> = Result<T, HeaderError>;

/// Reads the header at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Field<PageHeader> {
    let mut reader = Compact { bytes, at: 0 };
    let (mut kind, mut compressed, mut uncompressed, mut crc) = (None, None, None, None);
    let (mut data, mut dictionary, mut data_v2) = (None, None, None);
    let mut last = 0;
    while let Some((id, wire)) = reader.field(&mut last)? {
        match (id, wire) {
            (1, Wire::Int) => kind = Some(reader.int()?),
            (2, Wire::Int) => uncompressed = Some(reader.int()?),
            (3, Wire::Int) => compressed = Some(reader.int()?),
            (4, Wire::Int) => crc = Some(reader.int()?),
            (5, Wire::Struct) => data = Some(reader.numbers()?),
            (7, Wire::Struct) => dictionary = Some(reader.numbers()?),
            (8, Wire::Struct) => data_v2 = Some(reader.numbers()?),
            (_, wire) => reader.skip(wire, DEPTH)?,
        }
    }
    let kind = match kind {
        Some(0) => {
            let of = data.ok_or(HeaderError::Bad("a data page without its header"))?;
            PageKind::Data {
                values: count(of[1])?,
                encoding: number(of[2])?,
                definition_encoding: number(of[3])?,
                repetition_encoding: number(of[4])?,
            }
        }
        Some(2) => {
            let of = dictionary.ok_or(HeaderError::Bad("a dictionary page without its header"))?;
            PageKind::Dictionary { values: count(of[1])?, encoding: number(of[2])?, is_sorted: of[3] == Some(1) }
        }
        Some(3) => {
            let of = data_v2.ok_or(HeaderError::Bad("a data page without its header"))?;
            PageKind::DataV2 {
                values: count(of[1])?,
                nulls: count(of[2])?,
                rows: count(of[3])?,
                encoding: number(of[4])?,
                definition_bytes: count(of[5])?,
                repetition_bytes: count(of[6])?,
                // The format's own default.
                is_compressed: of[7] != Some(0),
            }
        }
        Some(_) => PageKind::Other,
        None => return Err(HeaderError::Bad("a page of no kind")),
    };
    let size = |bytes: Option<i32>| {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or(HeaderError::Bad("a page without a size"))
    };
    Ok(PageHeader {
        kind,
        compressed_bytes: size(compressed)?,
        uncompressed_bytes: size(uncompressed)?,
        crc: crc.map(i32::cast_unsigned),
        header_bytes: reader.at,
    })
}

fn number(field: Option<i32>) -> Field<i32> {
    field.ok_or(HeaderError::Bad("a page header lacks a field"))
}

fn count(field: Option<i32>) -> Field<u32> {
    u32::try_from(number(field)?).map_err(|_| HeaderError::Bad("a page header counts below zero"))
}

/// How a value stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    True,
    False,
    Byte,
    Int,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

impl Wire {
    fn of(nibble: u8) -> Field<Self> {
        Ok(match nibble {
            1 => Self::True,
            2 => Self::False,
            3 => Self::Byte,
            4..=6 => Self::Int,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return Err(HeaderError::Bad("a page header holds a value of no type")),
        })
    }
}

struct Compact<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Field<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(HeaderError::CutOff)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Field<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HeaderError::Bad("a page header holds a number without an end"))
    }

    fn zigzag(&mut self) -> Field<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn int(&mut self) -> Field<i32> {
        i32::try_from(self.zigzag()?).map_err(|_| HeaderError::Bad("a page header holds a number of over 32 bits"))
    }

    /// The next field of a struct, none at its end; `last` is the id of the field before.
    fn field(&mut self, last: &mut i64) -> Field<Option<(i64, Wire)>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        let wire = Wire::of(head & 0x0f)?;
        // Short form: the step from the last id in the upper half; else the id itself follows.
        *last = match i64::from(head >> 4) {
            0 => self.zigzag()?,
            step => last.saturating_add(step),
        };
        Ok(Some((*last, wire)))
    }

    /// The numbers and booleans of a struct of fields 1 to 7, by their ids; the rest is passed over.
    fn numbers(&mut self) -> Field<[Option<i32>; 8]> {
        let mut fields = [None; 8];
        let mut last = 0;
        while let Some((id, wire)) = self.field(&mut last)? {
            let slot = usize::try_from(id).ok().and_then(|id| fields.get_mut(id));
            match (slot, wire) {
                (Some(slot), Wire::Int) => *slot = Some(self.int()?),
                (Some(slot), Wire::True) => *slot = Some(1),
                (Some(slot), Wire::False) => *slot = Some(0),
                (_, wire) => self.skip(wire, DEPTH)?,
            }
        }
        Ok(fields)
    }

    fn pass(&mut self, count: u64) -> Field<()> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                self.at += count;
                Ok(())
            }
            _ => Err(HeaderError::CutOff),
        }
    }

    fn skip(&mut self, wire: Wire, depth: u32) -> Field<()> {
        let depth = depth.checked_sub(1).ok_or(HeaderError::Bad("a page header is nested too deep"))?;
        match wire {
            Wire::True | Wire::False => Ok(()),
            Wire::Byte => self.pass(1),
            Wire::Int => self.varint().map(drop),
            Wire::Double => self.pass(8),
            Wire::Uuid => self.pass(16),
            Wire::Binary => {
                let length = self.varint()?;
                self.pass(length)
            }
            Wire::List => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let element = Wire::of(head & 0x0f)?;
                self.skip_elements(count, &[element], depth)
            }
            Wire::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.skip_elements(count, &[Wire::of(kinds >> 4)?, Wire::of(kinds & 0x0f)?], depth)
            }
            Wire::Struct => {
                let mut last = 0;
                while let Some((_, wire)) = self.field(&mut last)? {
                    self.skip(wire, depth)?;
                }
                Ok(())
            }
        }
    }

    fn skip_elements(&mut self, count: u64, kinds: &[Wire], depth: u32) -> Field<()> {
        for _ in 0..count {
            for kind in kinds {
                match kind {
                    // In a collection a boolean is a byte of its own.
                    Wire::True | Wire::False => self.pass(1)?,
                    kind => self.skip(*kind, depth)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{1: 0, 2: 300, 3: 200, 5: {1: 64, 2: 0, 3: 3, 4: 3, 5: {5: "max"}}}`, by hand from the protocol's words.
    const DATA_PAGE: &[u8] = &[
        0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0x90, 0x03, 0x2c, 0x15, 0x80, 0x01, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06,
        0x1c, 0x58, 0x03, b'm', b'a', b'x', 0x00, 0x00, 0x00,
    ];

    #[test]
    fn a_data_page_is_read_and_its_statistics_are_passed_over() {
        let header = read(&[DATA_PAGE, b"the page itself"].concat()).unwrap();
        let kind = PageKind::Data { values: 64, encoding: 0, definition_encoding: 3, repetition_encoding: 3 };
        let expected = PageHeader {
            kind,
            compressed_bytes: 200,
            uncompressed_bytes: 300,
            crc: None,
            header_bytes: DATA_PAGE.len(),
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn a_header_that_is_cut_off_asks_for_more_and_no_byte_of_it_makes_it_panic() {
        for end in 0..DATA_PAGE.len() {
            assert_eq!(read(&DATA_PAGE[..end]), Err(HeaderError::CutOff), "{end}");
        }
        for at in 0..DATA_PAGE.len() {
            for flip in 1..=255 {
                let mut bytes = DATA_PAGE.to_vec();
                bytes[at] ^= flip;
                // Whatever it is now, it is told.
                drop(read(&bytes));
            }
        }
        let nested = [0x2c; 100];
        assert!(matches!(read(&nested), Err(HeaderError::Bad(_))));
    }
}
