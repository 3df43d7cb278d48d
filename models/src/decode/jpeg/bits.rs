//! Huffman codes and the bits that follow them, read as libjpeg reads them, damaged data included.
//!
//! Data that ends at a marker goes on as zero bits; a code that stands for nothing counts as a zero. Bits are
//! fetched when, and as many as, libjpeg fetches them: only so do both find the end of a file without a marker at
//! the same symbol.

use super::Halt;
use super::frame::low16;
use super::source::Source;

/// A table as a file defines it.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// How many codes have 1, 2 ... 16 bits.
    pub(super) counts: [u8; 16],
    /// What they stand for, by length and value; 0 beyond the last.
    pub(super) symbols: [u8; 256],
}

/// A short code for a run of zeros and a coefficient, together with the coefficient's bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Short {
    pub(super) value: i16,
    pub(super) run: u8,
    /// The bits of both; 0 where there is no such code, or it needs more than [`AHEAD`].
    bits: u8,
}

/// Bits that a [`Short`] is looked up by.
const AHEAD: u8 = 9;

/// Codes that are looked up by their first bits.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// By the next [`AHEAD`] bits; empty in tables for DC coefficients.
    shorts: Vec<Short>,
    /// By the next eight bits: length in the high byte, symbol in the low one; length 9 for all longer codes.
    short: [u16; 256],
    /// The last code of each length, -1 where there is none; index 17 ends any search.
    last: [i32; 18],
    /// What to add to a code of each length for its symbol's index.
    offsets: [i32; 18],
    symbols: [u8; 256],
}

impl Table {
    /// `largest` is the largest symbol that makes sense.
    pub(super) fn new(spec: &Spec, largest: u8) -> Result<Self, Halt> {
        let mut table =
            Self { shorts: Vec::new(), short: [9 << 8; 256], last: [-1; 18], offsets: [0; 18], symbols: spec.symbols };
        table.last[17] = i32::MAX;
        let mut code = 0_i32;
        let mut index = 0_i32;
        let mut symbols = spec.symbols.iter();
        for (length, count) in (1_u16..).zip(spec.counts) {
            if count > 0 {
                let at = usize::from(length);
                table.offsets[at] = index - code;
                table.last[at] = code + i32::from(count) - 1;
                // The code of ones alone is reserved.
                if table.last[at] + 1 >= 1 << length {
                    return Err(Halt::Corrupt("more Huffman codes than their lengths allow"));
                }
                for symbol in symbols.by_ref().take(usize::from(count)) {
                    if *symbol > largest {
                        return Err(Halt::Corrupt("a Huffman code for more bits than a difference has"));
                    }
                    if length <= 8 {
                        let first = usize::try_from(code).expect("a code is not negative") << (8 - length);
                        table.short[first..][..1 << (8 - length)].fill(length << 8 | u16::from(*symbol));
                    }
                    code += 1;
                }
                index += i32::from(count);
            }
            code <<= 1;
        }
        Ok(table)
    }
}

impl Table {
    /// Adds what speeds up the reading of AC coefficients.
    pub(super) fn with_shorts(mut self) -> Self {
        self.shorts = (0..1_u16 << AHEAD).map(|next| self.short_for(next)).collect();
        self
    }

    fn short_for(&self, next: u16) -> Short {
        let [length, symbol] = self.short[usize::from(next >> (AHEAD - 8))].to_be_bytes();
        let (run, size) = (symbol >> 4, symbol & 15);
        let bits = length + size;
        if size == 0 || bits > AHEAD {
            return Short::default();
        }
        let number = i32::from(next >> (AHEAD - bits) & ((1 << size) - 1));
        Short { value: low16(extended(number, size)), run, bits }
    }
}

/// A first bit of 0 makes a coefficient negative (T.81, figure F.12).
#[inline(always)]
fn extended(number: i32, bits: u8) -> i32 {
    if number < 1 << (bits - 1) { number - (1 << bits) + 1 } else { number }
}

/// The bits ahead.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits {
    /// The next bit is the highest. Below those that count, all are zero.
    window: u64,
    count: u32,
    /// The data ended before its symbols did; zeros were read.
    pub(super) is_exhausted: bool,
}

/// A fetch fills the window to this many bits at least.
const FILLED: u32 = 57;

impl Bits {
    /// Forgets what is left of a restart interval.
    pub(super) fn clear(&mut self) {
        (self.window, self.count) = (0, 0);
    }

    /// Fetches bits. At a marker, zeros take their place where fewer than `needed` are left.
    fn fetch(&mut self, source: &mut Source<'_>, needed: u32) -> Result<(), Halt> {
        if source.marker.is_none() {
            if let Some(next) = source.eight_plain_bytes() {
                let bytes = (64 - self.count) / 8;
                let count = self.count + 8 * bytes;
                // `count` is 57 at least, so that the shifts are of less than 64.
                self.window |= next >> self.count & u64::MAX << (64 - count);
                self.count = count;
                source.advance(usize::try_from(bytes).expect("eight at most"));
                return Ok(());
            }
            while self.count < FILLED {
                let byte = source.byte()?;
                if byte == 0xff {
                    let mut code = source.byte()?;
                    while code == 0xff {
                        code = source.byte()?;
                    }
                    if code != 0 {
                        source.marker = Some(code);
                        break;
                    }
                }
                self.window |= u64::from(byte) << (56 - self.count);
                self.count += 8;
            }
        }
        if self.count < needed {
            self.is_exhausted = true;
            self.count = FILLED;
        }
        Ok(())
    }

    /// The next run of zeros and the coefficient behind it, where both are short and fetched already.
    #[inline(always)]
    pub(super) fn short(&mut self, table: &Table) -> Option<Short> {
        if self.count < u32::from(AHEAD) {
            return None;
        }
        let next = usize::try_from(self.window >> (64 - AHEAD)).expect("nine bits");
        let short = *table.shorts.get(next)?;
        if short.bits == 0 {
            return None;
        }
        self.window <<= short.bits;
        self.count -= u32::from(short.bits);
        Some(short)
    }

    /// The next symbol of a table.
    #[inline(always)]
    pub(super) fn symbol(&mut self, source: &mut Source<'_>, table: &Table) -> Result<u8, Halt> {
        if self.count < 8 {
            self.fetch(source, 0)?;
            if self.count < 8 {
                return self.symbol_from(source, table, 1);
            }
        }
        let [next, ..] = self.window.to_be_bytes();
        let [length, symbol] = table.short[usize::from(next)].to_be_bytes();
        if length > 8 {
            return self.symbol_from(source, table, 9);
        }
        self.window <<= length;
        self.count -= u32::from(length);
        Ok(symbol)
    }

    /// A symbol whose code has `length` bits at least.
    #[cold]
    fn symbol_from(&mut self, source: &mut Source<'_>, table: &Table, mut length: usize) -> Result<u8, Halt> {
        let mut code = self.number(source, if length == 1 { 1 } else { 9 })?;
        while code > table.last[length] {
            code = code << 1 | self.number(source, 1)?;
            length += 1;
        }
        if length > 16 {
            return Ok(0);
        }
        let index = usize::try_from(code + table.offsets[length]).expect("codes of a length begin at its offset");
        Ok(table.symbols[index % 256])
    }

    /// The next `bits` bits, 1 to 16, as a number.
    #[inline(always)]
    pub(super) fn number(&mut self, source: &mut Source<'_>, bits: u8) -> Result<i32, Halt> {
        if self.count < u32::from(bits) {
            self.fetch(source, bits.into())?;
        }
        let number = self.window >> (64 - u32::from(bits));
        self.window <<= bits;
        self.count -= u32::from(bits);
        Ok(i32::try_from(number).expect("sixteen bits at most"))
    }

    /// A coefficient of so many bits, 0 to 15.
    #[inline(always)]
    pub(super) fn coefficient(&mut self, source: &mut Source<'_>, bits: u8) -> Result<i32, Halt> {
        if bits == 0 {
            return Ok(0);
        }
        let number = self.number(source, bits)?;
        Ok(extended(number, bits))
    }

    /// The next bit.
    #[inline]
    pub(super) fn bit(&mut self, source: &mut Source<'_>) -> Result<bool, Halt> {
        Ok(self.number(source, 1)? != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110 for the symbols 7, 8, 9.
    fn table() -> Table {
        let mut spec = Spec { counts: [0; 16], symbols: [0; 256] };
        spec.counts[..3].copy_from_slice(&[1, 1, 1]);
        spec.symbols[..3].copy_from_slice(&[7, 8, 9]);
        Table::new(&spec, 255).unwrap()
    }

    #[test]
    fn a_code_that_stands_for_nothing_is_a_zero_of_seventeen_bits() {
        let mut source = Source::new(b"\xff\0\xff\0\xbf\xff\xd9");
        let mut bits = Bits::default();
        assert_eq!(bits.symbol(&mut source, &table()), Ok(0));
        // Of 1011_1111 the first bit went with the code, and 0 is the next.
        assert_eq!(bits.symbol(&mut source, &table()), Ok(7));
        assert!(!bits.is_exhausted);
    }

    #[test]
    fn zeros_follow_the_last_bit_before_a_marker() {
        let mut source = Source::new(b"\xc0\xff\xff\xd0");
        let mut bits = Bits::default();
        assert_eq!(bits.symbol(&mut source, &table()), Ok(9));
        assert_eq!(bits.number(&mut source, 5), Ok(0));
        assert!(!bits.is_exhausted);
        assert_eq!(bits.symbol(&mut source, &table()), Ok(7));
        assert!(bits.is_exhausted);
        assert_eq!(source.marker, Some(0xd0));
    }

    #[test]
    fn a_file_may_end_only_behind_a_marker() {
        let mut source = Source::new(b"\x00\x00");
        assert_eq!(Bits::default().symbol(&mut source, &table()), Err(Halt::End));
    }

    #[test]
    fn eight_bytes_at_once_are_the_same_bits_as_one_after_the_other() {
        let bytes: Vec<u8> = (0..40).map(|n: u8| n.wrapping_mul(37)).collect();
        // A stuffed byte behind the forty makes the second source go byte by byte near its end.
        let stuffed = [&bytes[..], b"\xff\0\xff\xd9"].concat();
        let mut source = Source::new(&stuffed);
        let mut bits = Bits::default();
        let mut widths = [3_u8, 1, 16, 7, 11].into_iter().cycle();
        let (mut at, mut taken) = (0, Vec::new());
        while at + 16 < 8 * bytes.len() {
            let width = widths.next().unwrap();
            let number = bits.number(&mut source, width).unwrap();
            taken.extend((0..width).rev().map(|bit| number >> bit & 1));
            at += usize::from(width);
        }
        let expected = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| i32::from(byte >> bit & 1)));
        assert_eq!(taken, expected.take(at).collect::<Vec<_>>());
    }

    #[test]
    fn short_codes_are_read_together_with_their_coefficients() {
        // Codes 0, 10, 110 for a coefficient of two bits, for one of four bits behind three zeros, and for the end.
        let mut spec = Spec { counts: [0; 16], symbols: [0; 256] };
        spec.counts[..3].copy_from_slice(&[1, 1, 1]);
        spec.symbols[..3].copy_from_slice(&[0x02, 0x34, 0x00]);
        let table = Table::new(&spec, 255).unwrap().with_shorts();
        // 0 11, 0 00, 10 0101, 110.
        let mut source = Source::new(b"\x62\x5c\0\0\0\0\0\0");
        let mut bits = Bits::default();
        assert!(bits.short(&table).is_none(), "nothing is fetched yet");
        bits.fetch(&mut source, 0).unwrap();
        let mut next = || bits.short(&table).map(|short| (short.run, short.value));
        assert_eq!([next(), next(), next(), next()], [Some((0, 3)), Some((0, -3)), Some((3, -10)), None]);
        assert_eq!(bits.symbol(&mut source, &table), Ok(0));
    }

    #[test]
    fn a_table_with_more_codes_than_bits_is_refused() {
        let mut spec = Spec { counts: [0; 16], symbols: [0; 256] };
        // The second code of one bit would be the reserved one.
        spec.counts[0] = 2;
        assert!(Table::new(&spec, 255).is_err());
    }
}
