//! Arithmetically coded coefficients, sequential and progressive (T.81, annex D and sections F.2.4 and G.1.3).
//!
//! As libjpeg decodes them: after a code that makes no sense, the rest of a restart interval is left as it is.

use super::Halt;
use super::frame::{Band, Block, ZIGZAG, low16};
use super::huffman::{Pass, Restarts};
use super::source::Source;

/// How binary decisions are conditioned: the defaults until a file sets others (T.81, section F.1.4.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditioning {
    /// Bounds of small DC differences, as powers of two.
    pub(super) dc: [(u8, u8); 16],
    /// The last coefficient that counts as of low frequency.
    pub(super) ac: [u8; 16],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self { dc: [(0, 1); 16], ac: [5; 16] }
    }
}

/// Statistics of one decision: the index into [`STATES`], and the more probable outcome in the highest bit.
type Bin = u8;

/// For DC differences a table holds 49 decisions, for AC coefficients 245.
const DC_BINS: usize = 64;
const AC_BINS: usize = 256;

/// The decision that is never learned: one half.
const EVEN: Bin = 113;

/// The decoder of one scan.
#[derive(Debug)]
pub(super) struct Arithmetic {
    pass: Pass,
    band: Band,
    registers: Registers,
    components: Vec<Coder>,
    membership: Vec<usize>,
    /// Components may share statistics.
    dc_bins: Box<[[Bin; DC_BINS]; 16]>,
    ac_bins: Box<[[Bin; AC_BINS]; 16]>,
    conditioning: Conditioning,
    restarts: Restarts,
    /// A senseless code was met in this restart interval.
    is_lost: bool,
}

#[derive(Debug)]
pub(super) struct Coder {
    dc_table: usize,
    ac_table: usize,
    last_dc: i32,
    /// Which statistics the size of the last difference selects.
    dc_context: usize,
}

impl Coder {
    pub(super) fn new(dc_table: u8, ac_table: u8) -> Self {
        Self { dc_table: usize::from(dc_table & 15), ac_table: usize::from(ac_table & 15), last_dc: 0, dc_context: 0 }
    }
}

/// The coding interval (T.81, section D.2).
#[derive(Clone, Copy, Debug)]
struct Registers {
    /// Where in the interval the code lies, above bits that are read ahead.
    code: i64,
    width: i64,
    /// How many bits are read ahead; below zero while the first bytes are missing.
    ahead: i32,
}

impl Registers {
    const START: Self = Self { code: 0, width: 0, ahead: -16 };

    /// A decision that is not learned.
    fn toss(&mut self, source: &mut Source<'_>) -> Result<bool, Halt> {
        let mut bin = EVEN;
        self.decide(source, &mut bin)
    }

    /// One decision.
    fn decide(&mut self, source: &mut Source<'_>, bin: &mut Bin) -> Result<bool, Halt> {
        while self.width < 0x8000 {
            self.ahead -= 1;
            if self.ahead < 0 {
                self.code = self.code << 8 | i64::from(next_byte(source)?);
                self.ahead += 8;
                if self.ahead < 0 {
                    self.ahead += 1;
                    if self.ahead == 0 {
                        // The first two bytes are here: after the next line the interval is whole.
                        self.width = 0x8000;
                    }
                }
            }
            self.width <<= 1;
        }
        let more_probable = *bin & 0x80;
        let (estimate, after_less, after_more, switches) = STATES[usize::from(*bin & 0x7f)];
        let estimate = i64::from(estimate);
        let rest = self.width - estimate;
        self.width = rest;
        let rest_of_code = rest << self.ahead;
        let (is_upper, is_less_probable);
        if self.code >= rest_of_code {
            self.code -= rest_of_code;
            // Of the two parts the larger one stands for the more probable outcome, wherever it lies.
            is_less_probable = rest >= estimate;
            self.width = estimate;
            is_upper = true;
        } else {
            is_less_probable = rest < 0x8000 && rest < estimate;
            is_upper = false;
        }
        if is_less_probable {
            *bin = after_less | if switches { more_probable ^ 0x80 } else { more_probable };
            Ok(more_probable == 0)
        } else {
            // Nothing is learned while the interval need not grow.
            if is_upper || rest < 0x8000 {
                *bin = after_more | more_probable;
            }
            Ok(more_probable != 0)
        }
    }
}

/// Behind a marker the code goes on as zeros, as it may.
fn next_byte(source: &mut Source<'_>) -> Result<u8, Halt> {
    if source.marker.is_some() {
        return Ok(0);
    }
    let byte = source.byte()?;
    if byte != 0xff {
        return Ok(byte);
    }
    let mut code = source.byte()?;
    while code == 0xff {
        code = source.byte()?;
    }
    if code == 0 {
        return Ok(0xff);
    }
    source.marker = Some(code);
    Ok(0)
}

impl Arithmetic {
    pub(super) fn new(
        pass: Pass,
        band: Band,
        components: Vec<Coder>,
        membership: Vec<usize>,
        conditioning: Conditioning,
        interval: u16,
    ) -> Self {
        Self {
            pass,
            band,
            registers: Registers::START,
            components,
            membership,
            dc_bins: Box::new([[0; DC_BINS]; 16]),
            ac_bins: Box::new([[0; AC_BINS]; 16]),
            conditioning,
            restarts: Restarts::new(interval),
            is_lost: false,
        }
    }

    /// Whether nothing in the scan can change a block any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_lost && self.restarts.interval == 0
    }

    /// Decodes the blocks of one MCU; those of a first or only pass must come as zeros.
    pub(super) fn decode_mcu(&mut self, source: &mut Source<'_>, blocks: &mut [Block]) -> Result<(), Halt> {
        if self.restarts.is_due() {
            source.pass_restart()?;
            for component in &mut self.components {
                (component.last_dc, component.dc_context) = (0, 0);
            }
            for bins in self.dc_bins.iter_mut() {
                bins.fill(0);
            }
            for bins in self.ac_bins.iter_mut() {
                bins.fill(0);
            }
            (self.registers, self.is_lost) = (Registers::START, false);
        }
        if self.is_lost {
            return Ok(());
        }
        let whole = Band { first: 1, last: 63, low: 0 };
        for (index, block) in blocks.iter_mut().enumerate() {
            let member = self.membership[index];
            let is_sound = match self.pass {
                Pass::Sequential => {
                    self.dc_first(source, block, member, 0)? && self.ac_first(source, block, member, whole)?
                }
                Pass::DcFirst => self.dc_first(source, block, member, self.band.low)?,
                Pass::DcRefined => {
                    if self.registers.toss(source)? {
                        block[0] |= 1 << self.band.low;
                    }
                    true
                }
                Pass::AcFirst => self.ac_first(source, block, member, self.band)?,
                Pass::AcRefined => self.ac_refined(source, block)?,
            };
            if !is_sound {
                self.is_lost = true;
                break;
            }
        }
        Ok(())
    }

    /// `false` where the code makes no sense.
    fn dc_first(&mut self, source: &mut Source<'_>, block: &mut Block, member: usize, low: u8) -> Result<bool, Halt> {
        let component = &mut self.components[member];
        let bins = &mut self.dc_bins[component.dc_table];
        let registers = &mut self.registers;
        let context = component.dc_context;
        if registers.decide(source, &mut bins[context])? {
            let is_negative = registers.decide(source, &mut bins[context + 1])?;
            let mut at = context + 2 + usize::from(is_negative);
            let mut size = 0;
            if registers.decide(source, &mut bins[at])? {
                size = 1;
                at = 20;
                while registers.decide(source, &mut bins[at])? {
                    size <<= 1;
                    if size == 0x8000 {
                        return Ok(false);
                    }
                    at += 1;
                }
            }
            let (small, large) = self.conditioning.dc[component.dc_table];
            let sign = 4 * usize::from(is_negative);
            component.dc_context = if size < (1 << small) >> 1 {
                0
            } else if size > (1 << large) >> 1 {
                12 + sign
            } else {
                4 + sign
            };
            let value = magnitude(registers, source, size, &mut bins[at + 14])?;
            component.last_dc = component.last_dc.wrapping_add(if is_negative { -value } else { value });
        } else {
            component.dc_context = 0;
        }
        block[0] = low16(component.last_dc << low);
        Ok(true)
    }

    /// `false` where the code makes no sense.
    fn ac_first(
        &mut self,
        source: &mut Source<'_>,
        block: &mut Block,
        member: usize,
        band: Band,
    ) -> Result<bool, Halt> {
        let table = self.components[member].ac_table;
        let bins = &mut self.ac_bins[table];
        let registers = &mut self.registers;
        let mut k = band.first;
        while k <= band.last {
            // Each coefficient has three decisions: whether the block ends, whether it is zero, whether it is large.
            let mut at = 3 * (k - 1);
            if registers.decide(source, &mut bins[at])? {
                break;
            }
            while !registers.decide(source, &mut bins[at + 1])? {
                at += 3;
                k += 1;
                if k > band.last {
                    return Ok(false);
                }
            }
            let is_negative = registers.toss(source)?;
            at += 2;
            let mut size = 0;
            if registers.decide(source, &mut bins[at])? {
                size = 1;
                if registers.decide(source, &mut bins[at])? {
                    size = 2;
                    at = if k <= usize::from(self.conditioning.ac[table]) { 189 } else { 217 };
                    while registers.decide(source, &mut bins[at])? {
                        size <<= 1;
                        if size == 0x8000 {
                            return Ok(false);
                        }
                        at += 1;
                    }
                }
            }
            let value = magnitude(registers, source, size, &mut bins[at + 14])?;
            block[ZIGZAG[k]] = low16((if is_negative { -value } else { value }) << band.low);
            k += 1;
        }
        Ok(true)
    }

    /// `false` where the code makes no sense.
    fn ac_refined(&mut self, source: &mut Source<'_>, block: &mut Block) -> Result<bool, Halt> {
        let Band { first, last, low } = self.band;
        let bins = &mut self.ac_bins[self.components[0].ac_table];
        let registers = &mut self.registers;
        let one = 1_i16 << low;
        // The block cannot end before the last coefficient that is known.
        let known = (1..=last).rev().find(|k| block[ZIGZAG[*k]] != 0).unwrap_or(0);
        let mut k = first;
        while k <= last {
            let mut at = 3 * (k - 1);
            if k > known && registers.decide(source, &mut bins[at])? {
                break;
            }
            loop {
                let value = &mut block[ZIGZAG[k]];
                if *value != 0 {
                    if registers.decide(source, &mut bins[at + 2])? {
                        *value = if *value < 0 { value.wrapping_sub(one) } else { value.wrapping_add(one) };
                    }
                    break;
                }
                if registers.decide(source, &mut bins[at + 1])? {
                    *value = if registers.toss(source)? { -one } else { one };
                    break;
                }
                at += 3;
                k += 1;
                if k > last {
                    return Ok(false);
                }
            }
            k += 1;
        }
        Ok(true)
    }
}

/// A value from its size, a power of two or 0, and the bits below.
fn magnitude(registers: &mut Registers, source: &mut Source<'_>, size: i32, bin: &mut Bin) -> Result<i32, Halt> {
    let (mut value, mut bit) = (size, size >> 1);
    while bit > 0 {
        if registers.decide(source, bin)? {
            value |= bit;
        }
        bit >>= 1;
    }
    Ok(value + 1)
}

/// Probability of the less probable outcome, the states after it and after the other, and whether it then becomes
/// the more probable one (T.81, table D.3). The last state never changes.
const STATES: [(u16, u8, u8, bool); 114] = [
    (0x5a1d, 1, 1, true),
    (0x2586, 14, 2, false),
    (0x1114, 16, 3, false),
    (0x080b, 18, 4, false),
    (0x03d8, 20, 5, false),
    (0x01da, 23, 6, false),
    (0x00e5, 25, 7, false),
    (0x006f, 28, 8, false),
    (0x0036, 30, 9, false),
    (0x001a, 33, 10, false),
    (0x000d, 35, 11, false),
    (0x0006, 9, 12, false),
    (0x0003, 10, 13, false),
    (0x0001, 12, 13, false),
    (0x5a7f, 15, 15, true),
    (0x3f25, 36, 16, false),
    (0x2cf2, 38, 17, false),
    (0x207c, 39, 18, false),
    (0x17b9, 40, 19, false),
    (0x1182, 42, 20, false),
    (0x0cef, 43, 21, false),
    (0x09a1, 45, 22, false),
    (0x072f, 46, 23, false),
    (0x055c, 48, 24, false),
    (0x0406, 49, 25, false),
    (0x0303, 51, 26, false),
    (0x0240, 52, 27, false),
    (0x01b1, 54, 28, false),
    (0x0144, 56, 29, false),
    (0x00f5, 57, 30, false),
    (0x00b7, 59, 31, false),
    (0x008a, 60, 32, false),
    (0x0068, 62, 33, false),
    (0x004e, 63, 34, false),
    (0x003b, 32, 35, false),
    (0x002c, 33, 9, false),
    (0x5ae1, 37, 37, true),
    (0x484c, 64, 38, false),
    (0x3a0d, 65, 39, false),
    (0x2ef1, 67, 40, false),
    (0x261f, 68, 41, false),
    (0x1f33, 69, 42, false),
    (0x19a8, 70, 43, false),
    (0x1518, 72, 44, false),
    (0x1177, 73, 45, false),
    (0x0e74, 74, 46, false),
    (0x0bfb, 75, 47, false),
    (0x09f8, 77, 48, false),
    (0x0861, 78, 49, false),
    (0x0706, 79, 50, false),
    (0x05cd, 48, 51, false),
    (0x04de, 50, 52, false),
    (0x040f, 50, 53, false),
    (0x0363, 51, 54, false),
    (0x02d4, 52, 55, false),
    (0x025c, 53, 56, false),
    (0x01f8, 54, 57, false),
    (0x01a4, 55, 58, false),
    (0x0160, 56, 59, false),
    (0x0125, 57, 60, false),
    (0x00f6, 58, 61, false),
    (0x00cb, 59, 62, false),
    (0x00ab, 61, 63, false),
    (0x008f, 61, 32, false),
    (0x5b12, 65, 65, true),
    (0x4d04, 80, 66, false),
    (0x412c, 81, 67, false),
    (0x37d8, 82, 68, false),
    (0x2fe8, 83, 69, false),
    (0x293c, 84, 70, false),
    (0x2379, 86, 71, false),
    (0x1edf, 87, 72, false),
    (0x1aa9, 87, 73, false),
    (0x174e, 72, 74, false),
    (0x1424, 72, 75, false),
    (0x119c, 74, 76, false),
    (0x0f6b, 74, 77, false),
    (0x0d51, 75, 78, false),
    (0x0bb6, 77, 79, false),
    (0x0a40, 77, 48, false),
    (0x5832, 80, 81, true),
    (0x4d1c, 88, 82, false),
    (0x438e, 89, 83, false),
    (0x3bdd, 90, 84, false),
    (0x34ee, 91, 85, false),
    (0x2eae, 92, 86, false),
    (0x299a, 93, 87, false),
    (0x2516, 86, 71, false),
    (0x5570, 88, 89, true),
    (0x4ca9, 95, 90, false),
    (0x44d9, 96, 91, false),
    (0x3e22, 97, 92, false),
    (0x3824, 99, 93, false),
    (0x32b4, 99, 94, false),
    (0x2e17, 93, 86, false),
    (0x56a8, 95, 96, true),
    (0x4f46, 101, 97, false),
    (0x47e5, 102, 98, false),
    (0x41cf, 103, 99, false),
    (0x3c3d, 104, 100, false),
    (0x375e, 99, 93, false),
    (0x5231, 105, 102, false),
    (0x4c0f, 106, 103, false),
    (0x4639, 107, 104, false),
    (0x415e, 103, 99, false),
    (0x5627, 105, 106, true),
    (0x50e7, 108, 107, false),
    (0x4b85, 109, 103, false),
    (0x5597, 110, 109, false),
    (0x504f, 111, 107, false),
    (0x5a10, 110, 111, true),
    (0x5522, 112, 109, false),
    (0x59eb, 112, 111, true),
    (0x5a1d, 113, 113, false),
];
