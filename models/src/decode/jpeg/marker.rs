//! Marker segments, in the order and by the rules of libjpeg: what it overlooks is overlooked, what it dies of is an
//! error.

use super::arithmetic::Conditioning;
use super::bits::Spec;
use super::frame::{Frame, Quantisation, ZIGZAG};
use super::source::Source;
use super::{Halt, standard};

/// What stands in a file before and between its scans.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    pub(super) tables: Tables,
    pub(super) frame: Option<Frame>,
    has_begun: bool,
    pub(super) is_jfif: bool,
    /// The colour transform that Adobe's segment names.
    pub(super) adobe_transform: Option<u8>,
}

/// The tables that scans refer to.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) quantisation: [Option<Quantisation>; 4],
    pub(super) dc: [Option<Spec>; 4],
    pub(super) ac: [Option<Spec>; 4],
    pub(super) conditioning: Conditioning,
    /// In MCUs; 0 for none.
    pub(super) restart_interval: u16,
}

/// A scan header.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Indices of the components.
    pub(super) components: Vec<usize>,
    pub(super) first: u8,
    pub(super) last: u8,
    /// The bit that the scan before left the coefficients at, and the one that this leaves them at.
    pub(super) high: u8,
    pub(super) low: u8,
}

/// Where reading stops.
pub(super) enum Stop {
    /// Entropy-coded data follows.
    Scan(Scan),
    /// The end-of-image marker.
    EndOfImage,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            source: Source::new(bytes),
            tables: Tables::default(),
            frame: None,
            has_begun: false,
            is_jfif: false,
            adobe_transform: None,
        }
    }

    /// The frame, once it was read.
    pub(super) fn frame_mut(&mut self) -> Result<&mut Frame, Halt> {
        self.frame.as_mut().ok_or(Halt::NO_FRAME)
    }

    /// What a scan is read with.
    pub(super) fn parts(&mut self) -> Result<(&mut Source<'a>, &Tables, &mut Frame), Halt> {
        let frame = self.frame.as_mut().ok_or(Halt::NO_FRAME)?;
        Ok((&mut self.source, &self.tables, frame))
    }

    /// Reads up to the first scan. An image may come after others that hold tables alone.
    pub(super) fn read_to_first_scan(&mut self) -> Result<Scan, Halt> {
        loop {
            match self.read_to_scan()? {
                Stop::Scan(scan) => return Ok(scan),
                Stop::EndOfImage if self.frame.is_some() => return Err(Halt::Corrupt("no scan")),
                Stop::EndOfImage => self.has_begun = false,
            }
        }
    }

    /// Reads up to the next scan or the end of the image.
    pub(super) fn read_to_scan(&mut self) -> Result<Stop, Halt> {
        loop {
            let marker = match self.source.marker {
                Some(marker) => marker,
                None if self.has_begun => self.source.find_marker()?,
                None => match [self.source.byte()?, self.source.byte()?] {
                    [0xff, 0xd8] => 0xd8,
                    _ => return Err(Halt::Corrupt("no start of image")),
                },
            };
            self.source.marker = None;
            match marker {
                0xd8 => self.begin()?,
                0xd9 => return Ok(Stop::EndOfImage),
                0xda => return Ok(Stop::Scan(self.scan()?)),
                0xc0 | 0xc1 => self.read_frame(false, false)?,
                0xc2 => self.read_frame(true, false)?,
                0xc9 => self.read_frame(false, true)?,
                0xca => self.read_frame(true, true)?,
                0xc4 => self.read_huffman_tables()?,
                0xcc => self.read_conditioning()?,
                0xdb => self.read_quantisation()?,
                0xdd => self.read_restart_interval()?,
                0xe0 | 0xee => self.read_application(marker)?,
                // Other applications, comments, and a number of lines, which comes too late.
                0xdc | 0xe1..=0xed | 0xef | 0xfe => {
                    self.source.segment()?.rest()?;
                }
                // Restarts, and a marker without meaning.
                0x01 | 0xd0..=0xd7 => {}
                0xc0..=0xcf => return Err(Halt::Unsupported("neither baseline nor progressive coding")),
                _ => return Err(Halt::Corrupt("an unknown marker")),
            }
        }
    }

    fn begin(&mut self) -> Result<(), Halt> {
        if self.has_begun {
            return Err(Halt::Corrupt("an image within the image"));
        }
        self.has_begun = true;
        self.tables.conditioning = Conditioning::default();
        self.tables.restart_interval = 0;
        (self.is_jfif, self.adobe_transform) = (false, None);
        Ok(())
    }

    fn read_frame(&mut self, is_progressive: bool, is_arithmetic: bool) -> Result<(), Halt> {
        let segment = self.source.segment()?;
        self.frame = Some(Frame::read(segment, is_progressive, is_arithmetic, self.frame.is_some())?);
        Ok(())
    }

    fn read_restart_interval(&mut self) -> Result<(), Halt> {
        let mut segment = self.source.segment()?;
        if segment.left()? != 2 {
            return Err(Halt::LENGTH);
        }
        self.tables.restart_interval = u16::from_be_bytes(segment.array()?);
        Ok(())
    }

    fn read_huffman_tables(&mut self) -> Result<(), Halt> {
        let mut segment = self.source.segment()?;
        while segment.left()? > 0 {
            let [place, counts @ ..] = segment.array::<17>()?;
            let count: usize = counts.iter().map(|count| usize::from(*count)).sum();
            if count > 256 || count > segment.left()? {
                return Err(Halt::Corrupt("a Huffman table with more symbols than there is room for"));
            }
            let mut spec = Spec { counts, symbols: [0; 256] };
            spec.symbols[..count].copy_from_slice(segment.take(count)?);
            let tables = if place & 0x10 == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            let table = tables.get_mut(usize::from(place & !0x10));
            *table.ok_or(Halt::Corrupt("a fifth Huffman table"))? = Some(spec);
        }
        Ok(())
    }

    fn read_quantisation(&mut self) -> Result<(), Halt> {
        let mut segment = self.source.segment()?;
        while segment.left()? > 0 {
            let [place] = segment.array()?;
            let kept = self.tables.quantisation.get_mut(usize::from(place & 15));
            let kept = kept.ok_or(Halt::Corrupt("a fifth quantisation table"))?;
            let is_deep = place >> 4 != 0;
            let values = segment.take(if is_deep { 128 } else { 64 })?;
            let table = kept.insert([0; 64]);
            for (k, position) in ZIGZAG[..64].iter().enumerate() {
                table[*position] =
                    if is_deep { u16::from_be_bytes([values[2 * k], values[2 * k + 1]]) } else { values[k].into() };
            }
        }
        Ok(())
    }

    fn read_conditioning(&mut self) -> Result<(), Halt> {
        let mut segment = self.source.segment()?;
        while segment.left()? > 0 {
            let [table, value] = segment.array()?;
            let (table, small, large) = (usize::from(table), value & 15, value >> 4);
            match table {
                0..16 if small > large => return Err(Halt::Corrupt("senseless arithmetic conditioning")),
                0..16 => self.tables.conditioning.dc[table] = (small, large),
                16..32 => self.tables.conditioning.ac[table - 16] = value,
                _ => return Err(Halt::Corrupt("a seventeenth arithmetic conditioning")),
            }
        }
        Ok(())
    }

    fn read_application(&mut self, marker: u8) -> Result<(), Halt> {
        let body = self.source.segment()?.rest()?;
        // Of shorter segments libjpeg makes nothing.
        if marker == 0xe0 && body.len() >= 14 && body.starts_with(b"JFIF\0") {
            self.is_jfif = true;
        } else if marker == 0xee && body.len() >= 12 && body.starts_with(b"Adobe") {
            self.adobe_transform = Some(body[11]);
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<Scan, Halt> {
        let frame = self.frame.as_mut().ok_or(Halt::NO_FRAME)?;
        let mut segment = self.source.segment()?;
        let [count] = segment.array()?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || segment.left()? != 2 * count + 3 {
            return Err(Halt::LENGTH);
        }
        let names = segment.take(2 * count)?;
        let mut components = Vec::new();
        for name in names.chunks_exact(2) {
            // A component that took part at this place already is not looked at again: names may repeat.
            let index = frame
                .components
                .iter()
                .take(4)
                .enumerate()
                .position(|(index, component)| component.id == name[0] && components.get(index).is_none());
            let index = index.ok_or(Halt::Corrupt("a scan of an unknown component"))?;
            if components.contains(&index) {
                return Err(Halt::Corrupt("a scan of one component twice"));
            }
            components.push(index);
            let component = &mut frame.components[index];
            (component.dc_table, component.ac_table) = (name[1] >> 4, name[1] & 15);
        }
        self.source.begin_scan();
        let [first, last, bits] = segment.array()?;
        Ok(Scan { components, first, last, high: bits >> 4, low: bits & 15 })
    }

    /// Gives a sequential scan the tables that Motion-JPEG leaves out.
    pub(super) fn add_standard_tables(&mut self) {
        for index in 0..2 {
            self.tables.dc[index].get_or_insert_with(|| standard::dc(index));
            self.tables.ac[index].get_or_insert_with(|| standard::ac(index));
        }
    }
}
