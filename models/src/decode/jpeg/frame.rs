//! The frame: components, their sampling, and the grid of blocks that each is made of.

use super::Halt;
use super::source::Segment;

/// Coefficients of 8 x 8 samples, row by row from the lowest frequency.
pub(super) type Block = [i16; 64];

/// The quantisation table of a component in the same order. Sixteen bits wrap as libjpeg's vector code has it.
pub(super) type Quantisation = [u16; 64];

/// Coefficients `first` to `last` in zigzag order, without their `low` lowest bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) low: u8,
}

/// Where in a block the coefficients lie in the order of a file. A run of zeros in damaged data can lead fifteen
/// places beyond the last one: there libjpeg, too, writes to that.
pub(super) const ZIGZAG: [usize; 80] = {
    let mut order = [63; 80];
    let (mut row, mut column, mut k) = (0, 0, 0);
    while k < 64 {
        order[k] = 8 * row + column;
        // Upwards on the even diagonals, downwards on the odd ones.
        if (row + column) % 2 == 0 {
            if column == 7 {
                row += 1;
            } else {
                column += 1;
                row = if row == 0 { 0 } else { row - 1 };
            }
        } else if row == 7 {
            column += 1;
        } else {
            row += 1;
            column = if column == 0 { 0 } else { column - 1 };
        }
        k += 1;
    }
    order
};

/// The low sixteen bits.
#[inline]
pub(super) fn low16(value: i32) -> i16 {
    let [low, high, ..] = value.to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// One component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Samples for each [`Frame::across`] pixels of a row, and each [`Frame::down`] of a column; 1 to 4.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantisation_index: usize,
    /// By the last scan header that named the component.
    pub(super) dc_table: u8,
    pub(super) ac_table: u8,
    /// As it was when the first scan of the component began.
    pub(super) quantisation: Option<Quantisation>,
    /// In samples, without what fills the last blocks up.
    pub(super) width: usize,
    pub(super) height: usize,
    /// In blocks, those of the last MCUs that lie outside the image not counted.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// In blocks, all MCUs whole.
    pub(super) all_columns: usize,
    pub(super) all_rows: usize,
}

/// The frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) is_progressive: bool,
    pub(super) is_arithmetic: bool,
    pub(super) precision: u8,
    pub(super) components: Vec<Component>,
    /// The largest sampling factors; set by [`Frame::lay_out`].
    pub(super) across: usize,
    pub(super) down: usize,
}

impl Frame {
    /// Reads a frame header, of which there must be one.
    pub(super) fn read(
        mut segment: Segment<'_>,
        is_progressive: bool,
        is_arithmetic: bool,
        is_second: bool,
    ) -> Result<Self, Halt> {
        let [precision, h1, h0, w1, w0, count] = segment.array()?;
        if is_second {
            return Err(Halt::Corrupt("two frame headers"));
        }
        let [height, width] = [[h1, h0], [w1, w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        if width == 0 || height == 0 || count == 0 {
            return Err(Halt::Corrupt("an empty frame"));
        }
        if segment.left()? != 3 * usize::from(count) {
            return Err(Halt::Corrupt("a frame header of another length than its components need"));
        }
        let rest = segment.rest()?;
        let components = rest.chunks_exact(3).map(|chunk| Component {
            id: chunk[0],
            across: usize::from(chunk[1] >> 4),
            down: usize::from(chunk[1] & 15),
            quantisation_index: usize::from(chunk[2]),
            dc_table: 0,
            ac_table: 0,
            quantisation: None,
            width: 0,
            height: 0,
            columns: 0,
            rows: 0,
            all_columns: 0,
            all_rows: 0,
        });
        Ok(Self {
            width,
            height,
            is_progressive,
            is_arithmetic,
            precision,
            components: components.collect(),
            across: 1,
            down: 1,
        })
    }

    /// Checks the sampling factors and computes the grids.
    pub(super) fn lay_out(&mut self) -> Result<(), Halt> {
        if self.precision != 8 {
            return Err(Halt::Unsupported("another precision than 8 bits a sample"));
        }
        // More pixels in a row or column than libjpeg takes.
        if self.width.max(self.height) > 65_500 {
            return Err(Halt::Unsupported("a side of more than 65500 pixels"));
        }
        let factors = || self.components.iter().flat_map(|component| [component.across, component.down]);
        if factors().any(|factor| !(1..=4).contains(&factor)) {
            return Err(Halt::Corrupt("a senseless sampling factor"));
        }
        let most = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max().unwrap_or(1);
        let (across, down) = (most(|component| component.across), most(|component| component.down));
        for component in &mut self.components {
            component.width = (self.width * component.across).div_ceil(across);
            component.height = (self.height * component.down).div_ceil(down);
            component.columns = (self.width * component.across).div_ceil(8 * across);
            component.rows = (self.height * component.down).div_ceil(8 * down);
            component.all_columns = self.width.div_ceil(8 * across) * component.across;
            component.all_rows = self.height.div_ceil(8 * down) * component.down;
        }
        (self.across, self.down) = (across, down);
        Ok(())
    }

    /// Rows of MCUs, where a scan interleaves all components.
    pub(super) fn mcu_rows(&self) -> usize {
        self.height.div_ceil(8 * self.down)
    }

    /// Columns of MCUs, where a scan interleaves components.
    pub(super) fn mcu_columns(&self) -> usize {
        self.width.div_ceil(8 * self.across)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zigzag_visits_every_place_once_and_stays_at_the_last() {
        assert_eq!(ZIGZAG[..10], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]);
        assert_eq!(ZIGZAG[60..], [47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63]);
        let mut places = ZIGZAG[..64].to_vec();
        places.sort_unstable();
        assert_eq!(places, Vec::from_iter(0..64));
    }
}
