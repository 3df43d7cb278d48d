//! Draws what illustrated pages hold beside their content: ads, portraits, flagged pictures, furniture.

use image::RgbImage;

use crate::raster::{Canvas, Form, Ink, Q, shade, side};
use crate::rng::Rng;

/// An advertisement: loud letters, a burst, a bar with a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ad {
    pub width_px: u32,
    pub height_px: u32,
    /// Chooses words, price and colours.
    pub jitter: u64,
}

impl Ad {
    /// Sizes of the advertising trade: the first two are too flat for the aspect rule, the others pass it.
    pub const SIZES_PX: [(u32, u32); 5] = [(468, 60), (728, 90), (300, 250), (336, 280), (250, 250)];

    /// An ad that no rule on size or aspect catches, of 200 to 340 pixels a side.
    pub fn random_box(rng: &mut Rng) -> Self {
        let (width_px, height_px) = *rng.pick(&[(300, 250), (336, 280), (250, 250), (300, 200)]);
        Self { width_px, height_px, jitter: rng.bits() }
    }
}

/// A drawn face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portrait {
    /// Index into four skin tones.
    pub skin: u32,
    /// Index into black, brown, blond, red.
    pub hair: u32,
    pub smiling: bool,
    pub jitter: u64,
    pub width_px: u32,
    pub height_px: u32,
}

const HAIR: [(&str, Ink); 4] =
    [("black", [34, 28, 28]), ("brown", [104, 66, 36]), ("blond", [226, 190, 104]), ("red", [176, 72, 36])];
const SKIN: [Ink; 4] = [[244, 208, 180], [226, 176, 136], [176, 120, 80], [112, 74, 52]];

impl Portrait {
    /// Any portrait, of 180 to 320 pixels a side.
    pub fn random(rng: &mut Rng) -> Self {
        let width_px = rng.between(180, 300);
        Self {
            skin: rng.below(4),
            hair: rng.below(4),
            smiling: rng.chance(50),
            jitter: rng.bits(),
            width_px,
            height_px: (width_px * rng.between(100, 130) / 100).min(320),
        }
    }

    fn hair(&self) -> (&'static str, Ink) {
        HAIR[usize::try_from(self.hair % 4).expect("below four")]
    }
}

/// Says what `portrait` shows; `rng` chooses the wording only.
pub fn portrait_sentence(portrait: &Portrait, rng: &mut Rng) -> String {
    let mood = if portrait.smiling { "smiling" } else { "serious" };
    let hair = portrait.hair().0;
    match rng.below(3) {
        0 => format!("A {mood} person with {hair} hair looks straight at the camera."),
        1 => format!("This portrait shows the face of a {mood} person with {hair} hair."),
        _ => format!("The {mood} face in the picture belongs to somebody with {hair} hair."),
    }
}

/// Draws `portrait`: shoulders, head, hair, eyes, nose and mouth.
#[must_use]
pub fn draw_portrait(portrait: &Portrait) -> RgbImage {
    let mut rng = Rng::new(portrait.jitter);
    let wall = *rng.pick::<Ink>(&[[186, 206, 214], [222, 214, 196], [196, 214, 190], [210, 196, 214]]);
    let mut canvas = Canvas::gradient(portrait.width_px, portrait.height_px, shade(wall, 18), shade(wall, -26));
    let (width, height) = (side(portrait.width_px) * Q, side(portrait.height_px) * Q);
    let skin = shade(SKIN[usize::try_from(portrait.skin % 4).expect("below four")], rng.jitter(8));
    let hair = portrait.hair().1;
    let coat = *rng.pick::<Ink>(&[[52, 74, 120], [120, 44, 52], [58, 104, 74], [88, 88, 96]]);
    let x = width * (50 + rng.jitter(6)) / 100;
    let y = height * (45 + rng.jitter(3)) / 100;
    // All of the head is measured by half its height.
    let r = width.min(height) * (30 + rng.jitter(3)) / 100;
    let ellipse = |dx: i32, dy: i32, rx: i32, ry: i32| Form::Ellipse {
        x: x + r * dx / 100,
        y: y + r * dy / 100,
        rx: (r * rx / 100).max(Q),
        ry: (r * ry / 100).max(Q),
    };
    canvas.fill(&Form::Ellipse { x, y: height, rx: r * 3 / 2, ry: height - y - r * 11 / 10 }, coat);
    canvas.fill(&Form::rectangle(x - r * 28 / 100, y + r * 60 / 100, r * 56 / 100, r * 70 / 100), shade(skin, -18));
    canvas.fill(&ellipse(0, -14, 90, 104), hair);
    canvas.fill(&ellipse(0, 8, 74, 92), skin);
    // A fringe, cut off by the forehead.
    canvas.fill(&ellipse(-18, -66, 60, 26), hair);
    canvas.fill(&ellipse(30, -64, 44, 22), hair);
    for eye in [-30, 30] {
        canvas.fill(&Form::rectangle(x + r * (eye - 16) / 100, y - r * 26 / 100, r * 32 / 100, r * 6 / 100), hair);
        canvas.fill(&ellipse(eye, -6, 16, 9), [250, 250, 250]);
        canvas.fill(&ellipse(eye, -6, 8, 8), [44, 52, 60]);
    }
    let at = |dx: i32, dy: i32| (x + r * dx / 100, y + r * dy / 100);
    canvas.fill(&Form::Polygon(vec![at(-2, 4), at(10, 34), at(-10, 34)]), shade(skin, -34));
    if portrait.smiling {
        let mouth = vec![at(-32, 48), at(-14, 55), at(14, 55), at(32, 48), at(20, 68), at(0, 74), at(-20, 68)];
        canvas.fill(&Form::Polygon(mouth), [168, 48, 56]);
        canvas.fill(&Form::Polygon(vec![at(-20, 54), at(20, 54), at(14, 61), at(-14, 61)]), [250, 248, 244]);
    } else {
        canvas.fill(&ellipse(0, 58, 26, 6), [160, 66, 66]);
    }
    canvas.into_image()
}

/// Draws `ad`.
#[must_use]
pub fn draw_ad(ad: &Ad) -> RgbImage {
    let mut rng = Rng::new(ad.jitter);
    let (ground, loud) = *rng.pick::<(Ink, Ink)>(&[
        ([255, 222, 0], [214, 0, 24]),
        ([232, 20, 36], [255, 240, 60]),
        ([255, 255, 255], [0, 92, 220]),
        ([20, 30, 80], [255, 200, 0]),
    ]);
    let mut canvas = Canvas::gradient(ad.width_px, ad.height_px, ground, shade(ground, -30));
    let (width, height) = (side(ad.width_px) * Q, side(ad.height_px) * Q);
    let edge = 4 * Q;
    for form in [
        Form::rectangle(0, 0, width, edge),
        Form::rectangle(0, height - edge, width, edge),
        Form::rectangle(0, 0, edge, height),
        Form::rectangle(width - edge, 0, edge, height),
    ] {
        canvas.fill(&form, loud);
    }
    let shout = *rng.pick(&["SALE", "SALE", "DEAL", "FREE", "OFFER"]);
    let price = format!("${}.99", rng.between(1, 89));
    let order = *rng.pick(&["BUY NOW", "ORDER NOW", "CLICK"]);
    if width > height * 3 {
        // A banner: the shout, the bar with the price, the order, side by side.
        let third = width / 3;
        canvas.letters_in(shout, (edge * 2, edge * 2, third - 3 * edge, height - 4 * edge), loud);
        canvas.fill(&Form::rectangle(third, height / 5, third, height * 3 / 5), loud);
        canvas.letters_in(&price, (third, height / 4, third, height / 2), ground);
        canvas.letters_in(order, (2 * third + edge, edge * 2, third - 3 * edge, height - 4 * edge), loud);
        return canvas.into_image();
    }
    canvas.letters_in(shout, (edge * 2, height / 12, width - 4 * edge, height * 4 / 12), loud);
    canvas.fill(&Form::rectangle(0, height * 6 / 12, width, height * 3 / 12), loud);
    canvas.letters_in(&price, (edge * 2, height * 13 / 24, width - 4 * edge, height * 4 / 24), ground);
    canvas.letters_in(order, (edge * 2, height * 19 / 24, width - 4 * edge, height * 3 / 24), loud);
    let (x, y, r) = (width * 86 / 100, height * 14 / 100, width.min(height) / 9);
    // A burst of two turned squares.
    canvas.fill(&Form::rectangle(x - r, y - r, 2 * r, 2 * r), [255, 120, 0]);
    let turned = r * 7 / 5;
    canvas
        .fill(&Form::Polygon(vec![(x, y - turned), (x + turned, y), (x, y + turned), (x - turned, y)]), [255, 120, 0]);
    canvas.letters_in("50%", (x - r, y - r / 2, 2 * r, r), [255, 255, 255]);
    canvas.into_image()
}

/// Draws a picture that stands in for the kind a detector flags: a hatch of magenta and black. It shows nothing.
#[must_use]
pub fn draw_flagged(width_px: u32, height_px: u32, jitter: u64) -> RgbImage {
    let mut rng = Rng::new(jitter);
    let magenta = shade([228, 0, 200], rng.jitter(20));
    let mut canvas = Canvas::gradient(width_px, height_px, magenta, magenta);
    let (width, height) = (side(width_px) * Q, side(height_px) * Q);
    let stripe = i32::try_from(rng.between(8, 16)).expect("small") * Q;
    let leaning = rng.chance(50);
    let mut left = -height;
    while left < width {
        let (top, bottom) = if leaning { (left + height, left) } else { (left, left + height) };
        let form = Form::Polygon(vec![(top, 0), (top + stripe, 0), (bottom + stripe, height), (bottom, height)]);
        canvas.fill(&form, [12, 10, 14]);
        left += stripe * 2;
    }
    let block = width.min(height) / 3;
    let (x, y) = (width * (45 + rng.jitter(15)) / 100, height * (45 + rng.jitter(15)) / 100);
    canvas.fill(&Form::rectangle(x - block / 2, y - block / 2, block, block), [12, 10, 14]);
    canvas.fill(&Form::rectangle(x - block / 4, y - block / 4, block / 2, block / 2), magenta);
    canvas.into_image()
}

/// Draws the picture at the head of a site: `name` in letters on coloured ground.
#[must_use]
pub fn draw_header(name: &str, width_px: u32, height_px: u32, jitter: u64) -> RgbImage {
    let mut rng = Rng::new(jitter);
    let ground: Ink =
        *rng.pick(&[[36, 96, 108], [120, 70, 40], [70, 60, 120], [44, 100, 60], [130, 50, 70], [60, 70, 84]]);
    let mut canvas = Canvas::gradient(width_px, height_px, shade(ground, 60), ground);
    let (width, height) = (side(width_px) * Q, side(height_px) * Q);
    for _ in 0..6 {
        let x = side(rng.below(width_px)) * Q;
        let y = side(rng.below(height_px)) * Q;
        let r = height * i32::try_from(rng.between(8, 30)).expect("a percentage") / 100;
        canvas.fill(&Form::Ellipse { x, y, rx: r, ry: r }, shade(ground, rng.jitter(60)));
    }
    canvas.letters_in(&name.to_uppercase(), (width / 12, height / 4, width * 10 / 12, height / 2), [250, 248, 240]);
    canvas.into_image()
}
