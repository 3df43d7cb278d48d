//! Huffman-coded coefficients, sequential and progressive (T.81, sections F.2 and G.2).
//!
//! As libjpeg decodes them: what makes no sense is decoded all the same, and where the data of a restart interval
//! ends too early, the rest of its blocks is left as it is.

use super::Halt;
use super::bits::{Bits, Table};
use super::frame::{Band, Block, ZIGZAG, low16};
use super::source::Source;

/// What a scan codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Whole blocks.
    Sequential,
    /// The high bits of the DC coefficients.
    DcFirst,
    /// One more bit of each.
    DcRefined,
    /// The high bits of a band of AC coefficients.
    AcFirst,
    /// One more bit of each.
    AcRefined,
}

/// The decoder of one scan.
#[derive(Debug)]
pub(super) struct Huffman {
    pass: Pass,
    band: Band,
    bits: Bits,
    /// For each component of the scan.
    components: Vec<Coder>,
    /// Which of them each block of an MCU belongs to.
    membership: Vec<usize>,
    /// Blocks still to come that have no coefficients left in the band.
    end_of_band_run: u32,
    restarts: Restarts,
}

#[derive(Debug)]
pub(super) struct Coder {
    /// Where the pass needs one.
    pub(super) dc: Option<Table>,
    pub(super) ac: Option<Table>,
    last_dc: i32,
}

/// MCUs up to the next restart marker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restarts {
    /// 0 where there are none.
    pub(super) interval: u16,
    pub(super) left: u16,
}

impl Restarts {
    pub(super) fn new(interval: u16) -> Self {
        Self { interval, left: interval }
    }

    /// Counts one MCU; whether a marker is due before it.
    pub(super) fn is_due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        let is_due = self.left == 0;
        self.left = if is_due { self.interval } else { self.left } - 1;
        is_due
    }
}

impl Coder {
    pub(super) fn new(dc: Option<Table>, ac: Option<Table>) -> Self {
        Self { dc, ac, last_dc: 0 }
    }

    /// The next DC coefficient: the last one and a coded difference.
    #[inline]
    fn next_dc(&mut self, bits: &mut Bits, source: &mut Source<'_>) -> Result<i32, Halt> {
        let table = self.dc.as_ref().ok_or(Halt::NO_TABLE)?;
        let size = bits.symbol(source, table)?;
        let difference = bits.coefficient(source, size)?;
        self.last_dc = self.last_dc.checked_add(difference).ok_or(Halt::Corrupt("the DC coefficient overflows"))?;
        Ok(self.last_dc)
    }
}

impl Huffman {
    pub(super) fn new(pass: Pass, band: Band, components: Vec<Coder>, membership: Vec<usize>, interval: u16) -> Self {
        let (bits, restarts) = (Bits::default(), Restarts::new(interval));
        Self { pass, band, bits, components, membership, end_of_band_run: 0, restarts }
    }

    /// Whether the data of this restart interval is used up.
    pub(super) fn is_exhausted(&self) -> bool {
        self.bits.is_exhausted
    }

    /// Whether nothing in the scan can change a block any more.
    pub(super) fn is_over(&self) -> bool {
        self.bits.is_exhausted && self.restarts.interval == 0
    }

    /// Decodes the blocks of one MCU; those of a first or only pass must come as zeros.
    #[inline]
    pub(super) fn decode_mcu(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        if self.restarts.is_due() {
            self.restart(source)?;
        }
        if self.bits.is_exhausted {
            return Ok(());
        }
        match self.pass {
            Pass::Sequential => self.sequential(source, blocks),
            Pass::DcFirst => self.dc_first(source, blocks),
            Pass::DcRefined => self.dc_refined(source, blocks),
            // Scans of AC coefficients have one component, and so one block in an MCU.
            Pass::AcFirst => blocks.iter_mut().try_for_each(|block| self.ac_first(source, block)),
            Pass::AcRefined => blocks.iter_mut().try_for_each(|block| self.ac_refined(source, block)),
        }
    }

    fn restart(&mut self, source: &mut Source<'_>) -> Result<(), Halt> {
        self.bits.clear();
        source.pass_restart()?;
        for component in &mut self.components {
            component.last_dc = 0;
        }
        self.end_of_band_run = 0;
        // A marker that still stands there means an interval without data.
        if source.marker.is_none() {
            self.bits.is_exhausted = false;
        }
        Ok(())
    }

    fn sequential(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        let mut bits = self.bits;
        for (block, member) in blocks.iter_mut().zip(&self.membership) {
            let component = &mut self.components[*member];
            block[0] = low16(component.next_dc(&mut bits, source)?);
            let table = component.ac.as_ref().ok_or(Halt::NO_TABLE)?;
            let mut k = 1;
            while k < 64 {
                if let Some(short) = bits.short(table) {
                    k += usize::from(short.run);
                    block[ZIGZAG[k]] = short.value;
                    k += 1;
                    continue;
                }
                let symbol = bits.symbol(source, table)?;
                let (run, size) = (symbol >> 4, symbol & 15);
                if size != 0 {
                    k += usize::from(run);
                    block[ZIGZAG[k]] = low16(bits.coefficient(source, size)?);
                    k += 1;
                } else if run == 15 {
                    k += 16;
                } else {
                    break;
                }
            }
        }
        self.bits = bits;
        Ok(())
    }

    fn dc_first(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        for (block, member) in blocks.iter_mut().zip(&self.membership) {
            let value = self.components[*member].next_dc(&mut self.bits, source)?;
            block[0] = low16(value << self.band.low);
        }
        Ok(())
    }

    fn dc_refined(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        for block in blocks {
            if self.bits.bit(source)? {
                block[0] |= 1 << self.band.low;
            }
        }
        Ok(())
    }

    fn ac_first(&mut self, source: &mut Source<'_>, block: &mut Block) -> Result<(), Halt> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let table = self.components[0].ac.as_ref().ok_or(Halt::NO_TABLE)?;
        let mut bits = self.bits;
        let mut k = self.band.first;
        while k <= self.band.last {
            if let Some(short) = bits.short(table) {
                k += usize::from(short.run);
                block[ZIGZAG[k]] = short.value << self.band.low;
                k += 1;
                continue;
            }
            let symbol = bits.symbol(source, table)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            if size != 0 {
                k += usize::from(run);
                block[ZIGZAG[k]] = low16(bits.coefficient(source, size)? << self.band.low);
                k += 1;
            } else if run == 15 {
                k += 16;
            } else {
                self.end_of_band_run = run_of(&mut bits, source, run)? - 1;
                break;
            }
        }
        self.bits = bits;
        Ok(())
    }

    fn ac_refined(&mut self, source: &mut Source<'_>, block: &mut Block) -> Result<(), Halt> {
        let table = self.components[0].ac.as_ref().ok_or(Halt::NO_TABLE)?;
        let Band { mut first, last, low } = self.band;
        let one = 1_i16 << low;
        let mut bits = self.bits;
        if self.end_of_band_run == 0 {
            while first <= last {
                let symbol = bits.symbol(source, table)?;
                let (mut run, size) = (symbol >> 4, symbol & 15);
                let mut new = 0;
                if size != 0 {
                    // Any size but 1 is senseless, and is taken for 1.
                    new = if bits.bit(source)? { one } else { -one };
                } else if run < 15 {
                    self.end_of_band_run = run_of(&mut bits, source, run)?;
                    break;
                }
                // Refines what lies on the way to the place of the new coefficient, or behind sixteen zeros.
                loop {
                    let known = &mut block[ZIGZAG[first]];
                    if *known != 0 {
                        refine(known, one, &mut bits, source)?;
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    first += 1;
                    if first > last {
                        break;
                    }
                }
                if new != 0 {
                    block[ZIGZAG[first]] = new;
                }
                first += 1;
            }
        }
        if self.end_of_band_run > 0 {
            for position in ZIGZAG.iter().take(last + 1).skip(first) {
                let known = &mut block[*position];
                if *known != 0 {
                    refine(known, one, &mut bits, source)?;
                }
            }
            self.end_of_band_run -= 1;
        }
        self.bits = bits;
        Ok(())
    }
}

/// The number of blocks, this one included, whose band ends here.
fn run_of(bits: &mut Bits, source: &mut Source<'_>, size: u8) -> Result<u32, Halt> {
    let more = if size == 0 { 0 } else { bits.number(source, size)? };
    Ok((1 << size) + more.unsigned_abs())
}

/// Reads the next bit of a known coefficient; set already, it stays.
#[inline]
fn refine(known: &mut i16, one: i16, bits: &mut Bits, source: &mut Source<'_>) -> Result<(), Halt> {
    if bits.bit(source)? && *known & one == 0 {
        *known = if *known > 0 { known.wrapping_add(one) } else { known.wrapping_sub(one) };
    }
    Ok(())
}
