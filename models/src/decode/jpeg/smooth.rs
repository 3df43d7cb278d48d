//! Guesses the low frequencies that an unfinished progressive file does not hold, as libjpeg does.
//!
//! Of each block the first coefficients that are zero and not known in full are estimated from the DC coefficients of
//! the 5 x 5 blocks around it (T.81, section K.8, does so from 3 x 3). Where nothing but DC coefficients is known,
//! more of them are, and the DC coefficient itself is smoothed.

use super::frame::{Block, Component, Frame, low16};

/// How far each coefficient is known: the bit that its last scan left it at, -1 before the first.
pub(super) type Known = [i8; 64];

/// In zigzag order, the coefficients that are estimated: where they stand in a block.
const POSITIONS: [usize; 10] = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24];

/// Weights of the 5 x 5 DC coefficients, row by row, in 256ths; the first is that of the DC coefficient itself.
type Kernel = [i32; 25];

/// Where other coefficients are known: those of the first five.
#[rustfmt::skip]
const SHARP: [Kernel; 5] = [
    [0, 0, 0, 0, 0,   0, 0, 0, 0, 0,   -7, 50, 0, -50, 7,   0, 0, 0, 0, 0,   0, 0, 0, 0, 0],
    [0, 0, -7, 0, 0,   0, 0, 50, 0, 0,   0, 0, 0, 0, 0,   0, 0, -50, 0, 0,   0, 0, 7, 0, 0],
    [0, 0, -1, 0, 0,   0, 0, 13, 0, 0,   0, 0, -24, 0, 0,   0, 0, 13, 0, 0,   0, 0, -1, 0, 0],
    [0, -1, 0, 1, 0,   -1, 10, 0, -10, 1,   0, 0, 0, 0, 0,   1, -10, 0, 10, -1,   0, 1, 0, -1, 0],
    [0, 0, 0, 0, 0,   0, 0, 0, 0, 0,   -1, 13, -24, 13, -1,   0, 0, 0, 0, 0,   0, 0, 0, 0, 0],
];

/// Where DC coefficients alone are known: those of all nine, and of the DC coefficient.
#[rustfmt::skip]
const SOFT: [Kernel; 10] = [
    [-2, -6, -8, -6, -2,   -6, 6, 42, 6, -6,   -8, 42, 152, 42, -8,   -6, 6, 42, 6, -6,   -2, -6, -8, -6, -2],
    [-1, -1, 0, 1, 1,   -3, 13, 0, -13, 3,   -3, 38, 0, -38, 3,   -3, 13, 0, -13, 3,   -1, -1, 0, 1, 1],
    [-1, -3, -3, -3, -1,   -1, 13, 38, 13, -1,   0, 0, 0, 0, 0,   1, -13, -38, -13, 1,   1, 3, 3, 3, 1],
    [0, 0, 1, 0, 0,   0, 2, 7, 2, 0,   0, -5, -14, -5, 0,   0, 2, 7, 2, 0,   0, 0, 1, 0, 0],
    [-1, 0, 0, 0, 1,   0, 9, 0, -9, 0,   0, 0, 0, 0, 0,   0, -9, 0, 9, 0,   1, 0, 0, 0, -1],
    [0, 0, 0, 0, 0,   0, 2, -5, 2, 0,   1, 7, -14, 7, 1,   0, 2, -5, 2, 0,   0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0,   0, 1, 0, -1, 0,   0, 2, 0, -2, 0,   0, 1, 0, -1, 0,   0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0,   0, 1, -3, 1, 0,   0, 0, 0, 0, 0,   0, -1, 3, -1, 0,   0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0,   0, 1, 0, -1, 0,   0, -3, 0, 3, 0,   0, 1, 0, -1, 0,   0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0,   0, 1, 2, 1, 0,   0, 0, 0, 0, 0,   0, -1, -2, -1, 0,   0, 0, 0, 0, 0],
];

/// Whether anything can be estimated, and is worth it.
pub(super) fn applies(frame: &Frame, known: &[Known]) -> bool {
    let can = frame.components.iter().zip(known).all(|(component, known)| {
        let is_quantised = |table: &[u16; 64]| POSITIONS.iter().all(|position| table[*position] != 0);
        component.quantisation.as_ref().is_some_and(is_quantised) && known[0] >= 0
    });
    can && known.iter().any(|known| known[1..10].iter().any(|bit| *bit != 0))
}

/// The blocks of one component, to be read with estimates.
#[derive(Debug)]
pub(super) struct Smooth<'a> {
    pub(super) component: &'a Component,
    pub(super) blocks: &'a [Block],
    /// By [`Frame::mcu_rows`].
    pub(super) mcu_rows: usize,
    /// How far the coefficients are known, up to and including this row of MCUs, and below it.
    pub(super) known: &'a Known,
    pub(super) last_good_row: usize,
    pub(super) known_below: &'a Known,
}

impl Smooth<'_> {
    /// One block with its estimates.
    pub(super) fn block(&self, row: usize, column: usize) -> Block {
        let component = self.component;
        let mut block = self.blocks[row * component.all_columns + column];
        let Some(quantisation) = &component.quantisation else { return block };
        let mcu_row = row / component.down;
        let known = if mcu_row > self.last_good_row { self.known_below } else { self.known };
        let is_soft = known[1..10].iter().all(|bit| *bit == -1);
        let around = self.around(row, column);
        let estimate = |kernel: &Kernel| {
            let sum: i32 = kernel.iter().zip(around).map(|(weight, dc)| weight * dc).sum();
            i64::from(quantisation[0]) * i64::from(sum)
        };
        let kernels = if is_soft { &SOFT[1..] } else { &SHARP[..] };
        for (index, kernel) in (1..).zip(kernels) {
            let (position, bit) = (POSITIONS[index], known[index]);
            if bit == 0 || block[position] != 0 {
                continue;
            }
            let mut value = divided(estimate(kernel).abs(), quantisation[position]);
            // What is known says that the coefficient is smaller than this.
            if bit > 0 {
                value = value.min((1 << bit) - 1);
            }
            block[position] = low16(if estimate(kernel) < 0 { -value } else { value });
        }
        if is_soft {
            let sum = estimate(&SOFT[0]);
            let value = divided(sum.abs(), quantisation[0]);
            block[0] = low16(if sum < 0 { -value } else { value });
        }
        block
    }

    /// The DC coefficients of the 5 x 5 blocks around one. At the borders the nearest take the place of those that
    /// are not there.
    fn around(&self, row: usize, column: usize) -> [i32; 25] {
        let component = self.component;
        // How libjpeg counts rows: those of the last row of MCUs as if all rows of MCUs had as few.
        let mcu_row = row / component.down;
        let within = row % component.down;
        let rows_here = if mcu_row + 1 < self.mcu_rows {
            component.down
        } else {
            match component.rows % component.down {
                0 => component.down,
                rest => rest,
            }
        };
        let (counted, all) = (mcu_row * rows_here + within, rows_here * self.mcu_rows);
        let above = if counted > 0 { row - 1 } else { row };
        let far_above = if counted > 1 { row - 2 } else { above };
        let below = if counted + 1 < all { row + 1 } else { row };
        let far_below = if counted + 2 < all { row + 2 } else { below };
        let last = component.columns - 1;
        let columns = [
            column.saturating_sub(2),
            column.saturating_sub(1),
            column,
            (column + 1).min(last),
            (column + 2).min(last),
        ];
        let mut around = [0; 25];
        for (values, row) in around.chunks_exact_mut(5).zip([far_above, above, row, below, far_below]) {
            let blocks = &self.blocks[row * component.all_columns..];
            for (value, column) in values.iter_mut().zip(columns) {
                *value = blocks[column][0].into();
            }
        }
        around
    }
}

/// A sum of DC values in 256ths, as a multiple of another quantisation step, rounded.
fn divided(sum: i64, step: u16) -> i32 {
    let step = i64::from(step);
    i32::try_from(((step << 7) + sum) / (step << 8)).unwrap_or(i32::MAX)
}
