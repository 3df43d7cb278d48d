//! The boxes of an AVIF file (ISO/IEC 14496-12, 23008-12), as far as a still picture needs them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{DecodeError, FORMAT, be16, be32, index};

/// The brands of the file type box, the major one first.
pub(super) fn brands(bytes: &[u8]) -> Option<impl Iterator<Item = [u8; 4]>> {
    let (kind, body) = children(bytes).next()?;
    let (major, rest) = body.split_first_chunk::<4>()?;
    // Behind the major brand comes a version.
    let compatible = rest.get(4..)?.chunks_exact(4).filter_map(|brand| brand.first_chunk().copied());
    (kind == *b"ftyp").then(|| std::iter::once(*major).chain(compatible))
}

/// How the colours of an item are coded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Color {
    /// `MatrixCoefficients` of ITU-T H.273.
    pub(super) matrix: u16,
    pub(super) is_full_range: bool,
}

/// The items of a file and what is said of them.
#[derive(Debug)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub(super) primary: u32,
    kinds: BTreeMap<u32, [u8; 4]>,
    extents: BTreeMap<u32, Extents>,
    /// (kind, from, to) of each reference, in the file's order.
    references: Vec<([u8; 4], u32, Vec<u32>)>,
    properties: Vec<([u8; 4], &'a [u8])>,
    /// Item to its properties, as indices that count from one.
    associations: BTreeMap<u32, Vec<u16>>,
    inline: &'a [u8],
}

/// Where an item's payload lies.
#[derive(Debug)]
struct Extents {
    /// In the inline box, not in the file.
    is_inline: bool,
    /// A length of zero reaches to the end.
    ranges: Vec<(u64, u64)>,
}

impl<'a> Container<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((_, meta)) = children(bytes).find(|(kind, _)| kind == b"meta") else {
            return Err(DecodeError::corrupt(FORMAT, "no metadata box, or a cut one"));
        };
        let mut container = Self {
            bytes,
            primary: 0,
            kinds: BTreeMap::new(),
            extents: BTreeMap::new(),
            references: Vec::new(),
            properties: Vec::new(),
            associations: BTreeMap::new(),
            inline: &[],
        };
        // Version and flags come first.
        for (kind, body) in children(meta.get(4..).unwrap_or_default()) {
            container
                .read_box(kind, body)
                .ok_or_else(|| DecodeError::corrupt(FORMAT, format_args!("the box {} is cut", kind.escape_ascii())))?;
        }
        Ok(container)
    }

    fn read_box(&mut self, kind: [u8; 4], body: &'a [u8]) -> Option<()> {
        let mut fields = Fields(body);
        match &kind {
            b"pitm" => {
                let version = fields.version()?;
                self.primary = fields.id(version > 0)?;
            }
            b"iinf" => {
                let version = fields.version()?;
                fields.id(version > 0)?;
                for (_, entry) in children(fields.0) {
                    let mut fields = Fields(entry);
                    let version = fields.version()?;
                    let item = fields.id(version > 2)?;
                    fields.number(2)?;
                    self.kinds.insert(item, *fields.0.first_chunk()?);
                }
            }
            b"iloc" => self.read_locations(fields)?,
            b"iref" => {
                let is_long = fields.version()? > 0;
                for (kind, reference) in children(fields.0) {
                    let mut fields = Fields(reference);
                    let from = fields.id(is_long)?;
                    let count = fields.number(2)?;
                    let to = (0..count).map(|_| fields.id(is_long)).collect::<Option<_>>()?;
                    self.references.push((kind, from, to));
                }
            }
            b"iprp" => {
                for (kind, body) in children(body) {
                    match &kind {
                        b"ipco" => self.properties = children(body).collect(),
                        b"ipma" => self.read_associations(Fields(body))?,
                        _ => {}
                    }
                }
            }
            b"idat" => self.inline = body,
            _ => {}
        }
        Some(())
    }

    fn read_locations(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let version = fields.version()?;
        let sizes = fields.number(2)?;
        let size = |shift: u32| index((sizes >> shift) & 15);
        let (offset_size, length_size, base_size, index_size) = (size(12), size(8), size(4), size(0));
        let count = fields.id(version > 1)?;
        for _ in 0..count {
            let item = fields.id(version > 1)?;
            let method = if version > 0 { fields.number(2)? & 15 } else { 0 };
            fields.number(2)?;
            let base = fields.number(base_size)?;
            let mut ranges = Vec::new();
            for _ in 0..fields.number(2)? {
                if version > 0 {
                    fields.number(index_size)?;
                }
                let offset = base.checked_add(fields.number(offset_size)?)?;
                ranges.push((offset, fields.number(length_size)?));
            }
            // Method 2, relative to another item, is not used for pictures: such an item has no payload here.
            if method < 2 {
                self.extents.insert(item, Extents { is_inline: method == 1, ranges });
            }
        }
        Some(())
    }

    fn read_associations(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let head = fields.number(4)?;
        let (is_long_id, is_wide) = (head >> 24 > 0, head & 1 == 1);
        for _ in 0..fields.number(4)? {
            let item = fields.id(is_long_id)?;
            let count = fields.number(1)?;
            let places = self.associations.entry(item).or_default();
            for _ in 0..count {
                // The highest bit says that the property is essential.
                let place = if is_wide { fields.number(2)? & 0x7fff } else { fields.number(1)? & 0x7f };
                places.push(u16::try_from(place).ok()?);
            }
        }
        Some(())
    }

    /// The four-character code of an item.
    pub(super) fn kind(&self, item: u32) -> Result<[u8; 4], DecodeError> {
        let kind = self.kinds.get(&item).copied();
        kind.ok_or_else(|| DecodeError::corrupt(FORMAT, "the primary item does not exist"))
    }

    /// The bytes of an item, its extents put together.
    pub(super) fn payload(&self, item: u32) -> Result<Vec<u8>, DecodeError> {
        let Some(extents) = self.extents.get(&item) else {
            return Err(DecodeError::corrupt(FORMAT, "an item without a place"));
        };
        let source = if extents.is_inline { self.inline } else { self.bytes };
        let mut payload = Vec::new();
        for (offset, length) in &extents.ranges {
            let start = index(*offset);
            let range: Range<usize> =
                if *length == 0 { start..source.len() } else { start..start.saturating_add(index(*length)) };
            payload.extend_from_slice(source.get(range).ok_or(DecodeError::Truncated { format: FORMAT })?);
            // Extents may overlap; together they are still no longer than the file.
            if payload.len() > self.bytes.len() {
                return Err(DecodeError::corrupt(FORMAT, "an item longer than the file"));
            }
        }
        Ok(payload)
    }

    /// The first item of a kind that describes a picture, if it can be read.
    pub(super) fn payload_of_kind(&self, kind: [u8; 4]) -> Option<Vec<u8>> {
        let (item, _) = self.kinds.iter().find(|(_, other)| **other == kind)?;
        self.payload(*item).ok()
    }

    /// Tiles of the primary item, row by row.
    pub(super) fn tiles(&self) -> &[u32] {
        let mut references = self.references.iter();
        let grid = references.find(|(kind, from, _)| kind == b"dimg" && *from == self.primary);
        grid.map(|(_, _, to)| to.as_slice()).unwrap_or_default()
    }

    /// Whether another item holds the transparency of the primary one.
    pub(super) fn has_alpha(&self) -> bool {
        self.references.iter().any(|(kind, from, to)| {
            let is_alpha = |body: &[u8]| {
                body.get(4..).is_some_and(|urn| {
                    urn.starts_with(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
                        || urn.starts_with(b"urn:mpeg:hevc:2015:auxid:1")
                })
            };
            kind == b"auxl" && to.contains(&self.primary) && self.property(*from, *b"auxC").is_some_and(is_alpha)
        })
    }

    /// Width and height of an item.
    pub(super) fn size_px(&self, item: u32) -> Result<(u32, u32), DecodeError> {
        let extent = self.property(item, *b"ispe");
        let size = extent.and_then(|body| be32(body, 4).zip(be32(body, 8)));
        size.ok_or_else(|| DecodeError::corrupt(FORMAT, "the primary item has no size"))
    }

    /// The colour coding that the container states; it overrides the stream's own. Tiles have that of the grid.
    pub(super) fn color(&self, item: u32) -> Option<Color> {
        let of = |item| {
            self.properties_of(item).find_map(|(kind, body)| {
                let nclx = body.strip_prefix(b"nclx").filter(|_| kind == b"colr")?;
                Some(Color { matrix: be16(nclx, 4)?, is_full_range: nclx.get(6)? & 0x80 != 0 })
            })
        };
        of(item).or_else(|| of(self.primary))
    }

    /// The EXIF orientation that turn and mirror amount to; the turn comes first.
    pub(super) fn orientation(&self) -> u8 {
        let turns = self.property(self.primary, *b"irot").and_then(|body| body.first()).map_or(0, |turn| turn & 3);
        let axis = self.property(self.primary, *b"imir").and_then(|body| body.first()).map(|axis| axis & 1);
        match (turns, axis) {
            (0, None) => 1,
            (0, Some(0)) | (2, Some(1)) => 4,
            (0, Some(_)) | (2, Some(_)) => 2,
            (1, None) => 8,
            (1, Some(0)) | (3, Some(1)) => 5,
            (1, Some(_)) | (3, Some(_)) => 7,
            (2, None) => 3,
            (_, None) => 6,
            (_, Some(_)) => 1,
        }
    }

    fn property(&self, item: u32, kind: [u8; 4]) -> Option<&'a [u8]> {
        self.properties_of(item).find_map(|(other, body)| (*other == kind).then_some(body))
    }

    fn properties_of(&self, item: u32) -> impl Iterator<Item = (&[u8; 4], &'a [u8])> {
        let places = self.associations.get(&item).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| {
            let (kind, body) = self.properties.get(usize::from(*place).checked_sub(1)?)?;
            Some((kind, *body))
        })
    }
}

/// The boxes that lie side by side in `bytes`, up to the first that is cut.
fn children(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let kind = *rest.get(4..)?.first_chunk()?;
        let (head, length) = match be32(rest, 0)? {
            // To the end.
            0 => (8, rest.len()),
            1 => (16, index(u64::from_be_bytes(*rest.get(8..)?.first_chunk()?))),
            length => (8, index(length)),
        };
        let body = rest.get(head..length)?;
        rest = &rest[length..];
        Some((kind, body))
    })
}

/// Reads fields one after the other; `None` behind the end.
#[derive(Debug)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// A big-endian number of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        number.iter().try_fold(0_u64, |sum, byte| Some(sum.checked_mul(256)? | u64::from(*byte)))
    }

    /// Version of a full box, its flags skipped.
    fn version(&mut self) -> Option<u64> {
        self.number(4).map(|head| head >> 24)
    }

    /// An item's number or a count, of two bytes or four.
    fn id(&mut self, is_long: bool) -> Option<u32> {
        u32::try_from(self.number(if is_long { 4 } else { 2 })?).ok()
    }
}
