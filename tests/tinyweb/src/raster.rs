//! Fills simple forms on an RGB canvas, with soft edges, in integers only.
//!
//! Lengths are quarter pixels: a pixel has four samples, at 1 and 3 quarters of each side, and takes as much
//! ink as samples lie in the form. Coordinates stay below 2¹³, products below 2⁶³.

use image::{Rgb, RgbImage};

/// Red, green, blue.
pub(crate) type Ink = [u8; 3];

/// Quarter pixels in a pixel.
pub(crate) const Q: i32 = 4;

/// What can be filled; positions and lengths in quarter pixels.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Ellipse {
        x: i32,
        y: i32,
        rx: i32,
        ry: i32,
    },
    /// What lies between two circles.
    Ring {
        x: i32,
        y: i32,
        outer: i32,
        inner: i32,
    },
    /// Even-odd rule.
    Polygon(Vec<(i32, i32)>),
}

impl Form {
    pub(crate) fn rectangle(left: i32, top: i32, width: i32, height: i32) -> Self {
        let (right, bottom) = (left + width, top + height);
        Self::Polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)])
    }

    /// Left, top, right, bottom.
    fn bounds(&self) -> (i32, i32, i32, i32) {
        match self {
            Self::Ellipse { x, y, rx, ry } => (x - rx, y - ry, x + rx, y + ry),
            Self::Ring { x, y, outer, .. } => (x - outer, y - outer, x + outer, y + outer),
            Self::Polygon(points) => points.iter().fold((i32::MAX, i32::MAX, i32::MIN, i32::MIN), |b, &(x, y)| {
                (b.0.min(x), b.1.min(y), b.2.max(x), b.3.max(y))
            }),
        }
    }

    fn contains(&self, px: i32, py: i32) -> bool {
        let in_ellipse = |x: i32, y: i32, rx: i32, ry: i32| {
            let (dx, dy) = (i64::from(px - x) * i64::from(ry), i64::from(py - y) * i64::from(rx));
            let r = i64::from(rx) * i64::from(ry);
            dx * dx + dy * dy <= r * r
        };
        match self {
            Self::Ellipse { x, y, rx, ry } => in_ellipse(*x, *y, *rx, *ry),
            Self::Ring { x, y, outer, inner } => {
                in_ellipse(*x, *y, *outer, *outer) && !in_ellipse(*x, *y, *inner, *inner)
            }
            Self::Polygon(points) => {
                let mut inside = false;
                let mut previous = points.len() - 1;
                for (current, &(x, y)) in points.iter().enumerate() {
                    let (x0, y0) = points[previous];
                    if (y > py) != (y0 > py) {
                        // Which side of the edge the sample lies on, without a division.
                        let cross = i64::from(x0 - x) * i64::from(py - y) - i64::from(px - x) * i64::from(y0 - y);
                        if (cross > 0) == (y0 > y) {
                            inside = !inside;
                        }
                    }
                    previous = current;
                }
                inside
            }
        }
    }
}

/// A picture being drawn; its sides in whole pixels.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub(crate) width_px: i32,
    pub(crate) height_px: i32,
    image: RgbImage,
}

impl Canvas {
    /// A canvas that runs from `top` to `bottom` ink.
    pub(crate) fn gradient(width_px: u32, height_px: u32, top: Ink, bottom: Ink) -> Self {
        let image = RgbImage::from_fn(width_px, height_px, |_, y| Rgb(mix(top, bottom, y, height_px.max(2) - 1)));
        Self { width_px: side(width_px), height_px: side(height_px), image }
    }

    pub(crate) fn into_image(self) -> RgbImage {
        self.image
    }

    pub(crate) fn fill(&mut self, form: &Form, ink: Ink) {
        let (left, top, right, bottom) = form.bounds();
        for y in (top.div_euclid(Q)).max(0)..=bottom.div_euclid(Q).min(self.height_px - 1) {
            for x in (left.div_euclid(Q)).max(0)..=right.div_euclid(Q).min(self.width_px - 1) {
                let samples = [(1, 1), (3, 1), (1, 3), (3, 3)];
                let covered = samples.iter().filter(|(dx, dy)| form.contains(x * Q + dx, y * Q + dy)).count();
                if covered > 0 {
                    let covered = u32::try_from(covered).expect("at most four");
                    let pixel = self.image.get_pixel_mut(x.unsigned_abs(), y.unsigned_abs());
                    *pixel = Rgb(mix(pixel.0, ink, covered, 4));
                }
            }
        }
    }

    /// Writes block letters of 5 × 7 cells, each cell `cell` quarter pixels wide; unknown letters stay blank.
    pub(crate) fn letters(&mut self, text: &str, left: i32, top: i32, cell: i32, ink: Ink) {
        for (column, letter) in text.chars().enumerate() {
            let letter_left = left + i32::try_from(column).expect("a short text") * 6 * cell;
            for (row, bits) in (0i32..).zip(glyph(letter)) {
                for bit in 0..5 {
                    if bits >> (4 - bit) & 1 == 1 {
                        let form = Form::rectangle(letter_left + bit * cell, top + row * cell, cell, cell);
                        self.fill(&form, ink);
                    }
                }
            }
        }
    }

    /// As [`Self::letters`], centred in a box and as large as fits it.
    pub(crate) fn letters_in(&mut self, text: &str, area: (i32, i32, i32, i32), ink: Ink) {
        let (left, top, width, height) = area;
        let cells = i32::try_from(text.chars().count()).expect("a short text") * 6 - 1;
        // Whole pixels: the edges of letters stay hard.
        let cell = ((width / cells).min(height / 7) / Q * Q).max(Q);
        self.letters(text, left + (width - cells * cell) / 2, top + (height - 7 * cell) / 2, cell, ink);
    }
}

/// A side in pixels as a signed number.
pub(crate) fn side(px: u32) -> i32 {
    i32::try_from(px).expect("pictures here are small")
}

/// The ink `part` of `whole` of the way from `from` to `to`.
pub(crate) fn mix(from: Ink, to: Ink, part: u32, whole: u32) -> Ink {
    let channel = |index: usize| {
        let sum = u32::from(from[index]) * (whole - part) + u32::from(to[index]) * part;
        u8::try_from((sum + whole / 2) / whole).expect("a mean of two bytes is a byte")
    };
    [channel(0), channel(1), channel(2)]
}

/// `ink`, every channel moved by `by` and kept in range.
pub(crate) fn shade(ink: Ink, by: i32) -> Ink {
    ink.map(|channel| u8::try_from((i32::from(channel) + by).clamp(0, 255)).expect("clamped to a byte"))
}

/// Seven rows of five bits, the left cell highest.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        'A' => [14, 17, 17, 31, 17, 17, 17],
        'B' => [30, 17, 17, 30, 17, 17, 30],
        'C' => [15, 16, 16, 16, 16, 16, 15],
        'D' => [30, 17, 17, 17, 17, 17, 30],
        'E' => [31, 16, 16, 30, 16, 16, 31],
        'F' => [31, 16, 16, 30, 16, 16, 16],
        'G' => [15, 16, 16, 19, 17, 17, 15],
        'H' => [17, 17, 17, 31, 17, 17, 17],
        'I' => [14, 4, 4, 4, 4, 4, 14],
        'K' => [17, 18, 20, 24, 20, 18, 17],
        'L' => [16, 16, 16, 16, 16, 16, 31],
        'M' => [17, 27, 21, 21, 17, 17, 17],
        'N' => [17, 25, 21, 21, 19, 17, 17],
        'O' => [14, 17, 17, 17, 17, 17, 14],
        'P' => [30, 17, 17, 30, 16, 16, 16],
        'R' => [30, 17, 17, 30, 20, 18, 17],
        'S' => [15, 16, 16, 14, 1, 1, 30],
        'T' => [31, 4, 4, 4, 4, 4, 4],
        'U' => [17, 17, 17, 17, 17, 17, 14],
        'V' => [17, 17, 17, 17, 17, 10, 4],
        'W' => [17, 17, 17, 21, 21, 27, 17],
        'Y' => [17, 17, 10, 4, 4, 4, 4],
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 6, 8, 16, 31],
        '3' => [30, 1, 1, 14, 1, 1, 30],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [14, 16, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        '8' => [14, 17, 17, 14, 17, 17, 14],
        '9' => [14, 17, 17, 15, 1, 1, 14],
        '$' => [4, 15, 20, 14, 5, 30, 4],
        '%' => [25, 25, 2, 4, 8, 19, 19],
        '.' => [0, 0, 0, 0, 0, 12, 12],
        _ => [0; 7],
    }
}
