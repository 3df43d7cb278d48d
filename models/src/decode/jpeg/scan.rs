//! From scans to the samples of the components.

use pulp::{Arch, Simd, WithSimd};

use super::Halt;
use super::arithmetic::{self, Arithmetic};
use super::bits::{Spec, Table};
use super::frame::{Band, Block, Component, Frame};
use super::huffman::{self, Huffman, Pass};
use super::idct;
use super::marker::{Reader, Scan, Stop, Tables};
use super::output::Plane;
use super::smooth::{self, Known, Smooth};
use super::source::Source;

/// A whole image may be scanned so often: encoders need a dozen scans, and one for each bit of each coefficient of
/// three components is 2,688. Beyond that a file of the size limit could keep a decoder busy for hours.
const SCANS: usize = 2_688;
/// And so many blocks of a larger image may be visited.
const VISITS: usize = 1 << 29;

/// The samples of all components. Behind a complete sequential scan the file may end; anything else there that
/// libjpeg does not read over is an error.
pub(super) fn planes(reader: &mut Reader<'_>, first: &Scan) -> Result<Vec<Plane>, Halt> {
    let frame = reader.frame_mut()?;
    if frame.is_progressive || first.components.len() < frame.components.len() {
        return from_many_scans(reader, first);
    }
    let planes = from_one_scan(reader, first)?;
    match reader.read_to_scan() {
        Ok(Stop::EndOfImage) | Err(Halt::End) => Ok(planes),
        Ok(Stop::Scan(_)) => Err(Halt::Corrupt("a scan behind a complete image")),
        Err(halt) => Err(halt),
    }
}

/// Each block is transformed as soon as it is decoded.
fn from_one_scan(reader: &mut Reader<'_>, scan: &Scan) -> Result<Vec<Plane>, Halt> {
    let (source, tables, frame) = reader.parts()?;
    let grid = Grid::of(frame, scan)?;
    let mut entropy = Entropy::begin(tables, frame, scan, &grid)?;
    let mut planes: Vec<Plane> = frame.components.iter().map(Plane::of).collect();
    let multipliers: Vec<Block> = frame.components.iter().map(multipliers).collect();
    let arch = Arch::new();
    let mut blocks = vec![[0; 64]; grid.blocks()];
    for row in 0..grid.rows {
        for column in 0..grid.columns {
            blocks.fill([0; 64]);
            entropy.decode_mcu(source, &mut blocks)?;
            let at = (row, column);
            arch.dispatch(Mcu {
                blocks: &blocks,
                parts: &grid.parts,
                at,
                multipliers: &multipliers,
                planes: &mut planes,
            });
            if entropy.is_over() {
                return Ok(planes);
            }
        }
    }
    Ok(planes)
}

/// All coefficients are read before the first is transformed.
fn from_many_scans(reader: &mut Reader<'_>, first: &Scan) -> Result<Vec<Plane>, Halt> {
    let frame = reader.frame_mut()?;
    let is_progressive = frame.is_progressive;
    let blocks_of = |component: &Component| vec![[0; 64]; component.all_columns * component.all_rows];
    let mut coefficients: Vec<Vec<Block>> = frame.components.iter().map(blocks_of).collect();
    let all: usize = coefficients.iter().map(Vec::len).sum();
    let mut visits = VISITS.min(all.saturating_mul(SCANS));
    let mut progress = Progress::of(frame);
    let mut scan = first.clone();
    loop {
        let (source, tables, frame) = reader.parts()?;
        let grid = Grid::of(frame, &scan)?;
        visits = visits
            .checked_sub(grid.blocks() * grid.rows * grid.columns)
            .ok_or(Halt::Unsupported("more scans than an image can need"))?;
        let entropy = Entropy::begin(tables, frame, &scan, &grid)?;
        if is_progressive {
            progress.begin(&scan);
        }
        read_scan(source, entropy, frame, &grid, &mut coefficients, &mut progress)?;
        match reader.read_to_scan()? {
            Stop::Scan(next) => scan = next,
            Stop::EndOfImage => break,
        }
    }
    let frame = reader.frame_mut()?;
    let is_smooth = is_progressive && smooth::applies(frame, &progress.known);
    let arch = Arch::new();
    let mut planes = Vec::new();
    // The coefficients of a component go before those of the next are transformed.
    for (index, blocks) in coefficients.into_iter().enumerate() {
        let component = &frame.components[index];
        let multipliers = multipliers(component);
        let mut plane = Plane::of(component);
        let smooth = is_smooth.then(|| Smooth {
            component,
            blocks: &blocks,
            mcu_rows: frame.mcu_rows(),
            known: &progress.known[index],
            last_good_row: progress.last_good_row,
            known_below: &progress.known_before[index],
        });
        let (blocks, smooth, plane_out) = (&blocks, smooth.as_ref(), &mut plane);
        arch.dispatch(Whole { component, blocks, smooth, multipliers: &multipliers, plane: plane_out });
        planes.push(plane);
    }
    Ok(planes)
}

/// The blocks of one MCU, to be transformed into the planes.
struct Mcu<'a> {
    blocks: &'a [Block],
    parts: &'a [Part],
    /// Row and column of the MCU.
    at: (usize, usize),
    multipliers: &'a [Block],
    planes: &'a mut [Plane],
}

impl WithSimd for Mcu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { blocks, parts, at: (row, column), multipliers, planes } = self;
        let mut blocks = blocks.iter();
        for Part { component, across, down } in parts {
            let (plane, multipliers) = (&mut planes[*component], &multipliers[*component]);
            for y in row * down..(row + 1) * down {
                for (x, block) in (column * across..(column + 1) * across).zip(&mut blocks) {
                    let samples = &mut plane.samples[8 * (y * plane.stride + x)..];
                    idct::transform(block, multipliers, samples, plane.stride);
                }
            }
        }
    }
}

/// All blocks of a component, to be transformed into its plane.
struct Whole<'a> {
    component: &'a Component,
    blocks: &'a [Block],
    /// The same with what they lack.
    smooth: Option<&'a Smooth<'a>>,
    multipliers: &'a Block,
    plane: &'a mut Plane,
}

impl WithSimd for Whole<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { component, blocks, smooth, multipliers, plane } = self;
        for row in 0..component.rows {
            for column in 0..component.columns {
                let samples = &mut plane.samples[8 * (row * plane.stride + column)..];
                let estimated = smooth.map(|smooth| smooth.block(row, column));
                let block = estimated.as_ref().unwrap_or(&blocks[row * component.all_columns + column]);
                idct::transform(block, multipliers, samples, plane.stride);
            }
        }
    }
}

fn read_scan(
    source: &mut Source<'_>,
    mut entropy: Entropy,
    frame: &Frame,
    grid: &Grid,
    coefficients: &mut [Vec<Block>],
    progress: &mut Progress,
) -> Result<(), Halt> {
    let mut mcu = vec![[0; 64]; grid.blocks()];
    for row in 0..grid.rows {
        let mcu_row = if let [part] = grid.parts.as_slice() {
            // A scan of one component goes by its rows of blocks.
            row / frame.components[part.component].down
        } else {
            row
        };
        for column in 0..grid.columns {
            if !entropy.is_exhausted() {
                progress.last_good_row = mcu_row;
            }
            if let [Part { component, across: 1, down: 1 }] = grid.parts[..] {
                let at = row * frame.components[component].all_columns + column;
                entropy.decode_mcu(source, &mut coefficients[component][at..=at])?;
            } else {
                let place = |component: usize, (row, column): (usize, usize)| {
                    row * frame.components[component].all_columns + column
                };
                let places = || {
                    grid.parts.iter().flat_map(|part| {
                        part.places(row, column).map(move |at| (part.component, place(part.component, at)))
                    })
                };
                for (block, (component, at)) in mcu.iter_mut().zip(places()) {
                    *block = coefficients[component][at];
                }
                entropy.decode_mcu(source, &mut mcu)?;
                for (block, (component, at)) in mcu.iter().zip(places()) {
                    coefficients[component][at] = *block;
                }
            }
            if entropy.is_over() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How far the coefficients of each component are known.
#[derive(Debug)]
struct Progress {
    known: Vec<Known>,
    /// As it was before the last scan of each.
    known_before: Vec<Known>,
    scans: usize,
    /// The last row of MCUs for which a scan had data.
    last_good_row: usize,
}

impl Progress {
    fn of(frame: &Frame) -> Self {
        let unknown = vec![[-1; 64]; frame.components.len()];
        Self { known: unknown.clone(), known_before: unknown, scans: 0, last_good_row: 0 }
    }

    fn begin(&mut self, scan: &Scan) {
        let low = i8::try_from(scan.low).expect("four bits");
        let (first, last) = (usize::from(scan.first), usize::from(scan.last));
        self.scans += 1;
        for component in &scan.components {
            let (known, before) = (&mut self.known[*component], &mut self.known_before[*component]);
            let kept = first.min(1)..=last.clamp(9, 63);
            for (before, known) in before[kept.clone()].iter_mut().zip(&known[kept]) {
                *before = if self.scans > 1 { *known } else { 0 };
            }
            for known in known.iter_mut().take(last + 1).skip(first) {
                *known = low;
            }
        }
    }
}

/// The MCUs of a scan.
#[derive(Debug)]
struct Grid {
    columns: usize,
    rows: usize,
    parts: Vec<Part>,
}

/// The blocks of one component in an MCU.
#[derive(Clone, Copy, Debug)]
struct Part {
    component: usize,
    across: usize,
    down: usize,
}

impl Part {
    /// Row and column of each block of an MCU among those of the component.
    fn places(self, row: usize, column: usize) -> impl Iterator<Item = (usize, usize)> {
        let Self { across, down, .. } = self;
        (0..down).flat_map(move |y| (0..across).map(move |x| (row * down + y, column * across + x)))
    }
}

impl Grid {
    fn of(frame: &Frame, scan: &Scan) -> Result<Self, Halt> {
        if let [index] = scan.components[..] {
            let component = &frame.components[index];
            let part = Part { component: index, across: 1, down: 1 };
            return Ok(Self { columns: component.columns, rows: component.rows, parts: vec![part] });
        }
        let part = |index: &usize| {
            let component = &frame.components[*index];
            Part { component: *index, across: component.across, down: component.down }
        };
        let parts = scan.components.iter().map(part).collect();
        let grid = Self { columns: frame.mcu_columns(), rows: frame.mcu_rows(), parts };
        if grid.blocks() > 10 {
            return Err(Halt::Corrupt("more than ten blocks in an MCU"));
        }
        Ok(grid)
    }

    fn blocks(&self) -> usize {
        self.parts.iter().map(|part| part.across * part.down).sum()
    }

    /// The index, within the scan, of the component of each block in an MCU.
    fn membership(&self) -> Vec<usize> {
        let parts = self.parts.iter().enumerate();
        parts.flat_map(|(index, part)| std::iter::repeat_n(index, part.across * part.down)).collect()
    }
}

/// What the coefficients of a component are multiplied by; a component that no scan has is grey.
fn multipliers(component: &Component) -> Block {
    component.quantisation.map_or([0; 64], |table| table.map(|step| i16::from_ne_bytes(step.to_ne_bytes())))
}

/// The decoder of one scan.
#[derive(Debug)]
enum Entropy {
    Huffman(Huffman),
    Arithmetic(Box<Arithmetic>),
}

impl Entropy {
    /// Also keeps the quantisation tables of the components that are scanned for the first time.
    fn begin(tables: &Tables, frame: &mut Frame, scan: &Scan, grid: &Grid) -> Result<Self, Halt> {
        for index in &scan.components {
            let component = &mut frame.components[*index];
            if component.quantisation.is_none() {
                let table = tables.quantisation.get(component.quantisation_index).copied().flatten();
                component.quantisation = Some(table.ok_or(Halt::NO_TABLE)?);
            }
        }
        let (pass, band) = pass(frame, scan)?;
        let components = scan.components.iter().map(|index| &frame.components[*index]);
        let membership = grid.membership();
        if frame.is_arithmetic {
            let coders = components.map(|component| arithmetic::Coder::new(component.dc_table, component.ac_table));
            let (coders, conditioning) = (coders.collect(), tables.conditioning);
            let interval = tables.restart_interval;
            let arithmetic = Arithmetic::new(pass, band, coders, membership, conditioning, interval);
            return Ok(Self::Arithmetic(Box::new(arithmetic)));
        }
        let table = |specs: &[Option<Spec>; 4], index: u8, largest: u8| {
            let spec = specs.get(usize::from(index)).and_then(Option::as_ref).ok_or(Halt::NO_TABLE)?;
            Table::new(spec, largest)
        };
        let coders = components.map(|component| {
            let dc = matches!(pass, Pass::Sequential | Pass::DcFirst);
            let ac = matches!(pass, Pass::Sequential | Pass::AcFirst | Pass::AcRefined);
            let dc = dc.then(|| table(&tables.dc, component.dc_table, 15)).transpose()?;
            let ac = ac.then(|| table(&tables.ac, component.ac_table, 255)).transpose()?.map(Table::with_shorts);
            Ok(huffman::Coder::new(dc, ac))
        });
        let coders = coders.collect::<Result<_, Halt>>()?;
        Ok(Self::Huffman(Huffman::new(pass, band, coders, membership, tables.restart_interval)))
    }

    #[inline]
    fn decode_mcu(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        match self {
            Self::Huffman(huffman) => huffman.decode_mcu(source, blocks),
            Self::Arithmetic(arithmetic) => arithmetic.decode_mcu(source, blocks),
        }
    }

    fn is_exhausted(&self) -> bool {
        match self {
            Self::Huffman(huffman) => huffman.is_exhausted(),
            // Arithmetic codes may end early: what follows is zeros.
            Self::Arithmetic(_) => false,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Huffman(huffman) => huffman.is_over(),
            Self::Arithmetic(arithmetic) => arithmetic.is_over(),
        }
    }
}

/// What a scan codes. Parameters that make no sense are an error in progressive files alone.
fn pass(frame: &Frame, scan: &Scan) -> Result<(Pass, Band), Halt> {
    let band = Band { first: scan.first.into(), last: scan.last.into(), low: scan.low };
    if !frame.is_progressive {
        return Ok((Pass::Sequential, band));
    }
    let is_dc = scan.first == 0;
    let is_band =
        if is_dc { scan.last == 0 } else { scan.first <= scan.last && scan.last < 64 && scan.components.len() == 1 };
    // A refinement adds one bit; 13 is as far as libjpeg shifts.
    if !is_band || (scan.high != 0 && scan.low + 1 != scan.high) || scan.low > 13 {
        return Err(Halt::Corrupt("a senseless progressive scan"));
    }
    let pass = match (is_dc, scan.high == 0) {
        (true, true) => Pass::DcFirst,
        (true, false) => Pass::DcRefined,
        (false, true) => Pass::AcFirst,
        (false, false) => Pass::AcRefined,
    };
    Ok((pass, band))
}
