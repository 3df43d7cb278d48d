//! Draws scenes of plain figures before a backdrop, and says in a sentence what they show.

use image::RgbImage;

use crate::raster::{Canvas, Form, Ink, Q, shade, side};
use crate::rng::Rng;

/// What one content picture shows; `sentence` tells all of it but the jitter and the size in pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    pub colour: Colour,
    pub figure: Figure,
    pub size: Size,
    pub place: Place,
    pub backdrop: Backdrop,
    /// 1 to 4 figures, side by side.
    pub count: u32,
    /// Moves places and shades a little.
    pub jitter: u64,
    pub width_px: u32,
    pub height_px: u32,
}

/// The figures' colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    White,
    Black,
}

/// The figures' form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Circle,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
}

/// The figures' size; a sentence names no size for `Medium`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// Where in the picture the figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Left,
    Right,
    Top,
    Bottom,
    Middle,
}

/// What is behind the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backdrop {
    Hill,
    Sea,
    Desert,
    Night,
    Snow,
    Wall,
    Sunset,
    Floor,
}

impl Colour {
    pub const ALL: [Self; 8] =
        [Self::Red, Self::Orange, Self::Yellow, Self::Green, Self::Blue, Self::Purple, Self::White, Self::Black];

    fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    fn ink(self) -> Ink {
        match self {
            Self::Red => [214, 36, 36],
            Self::Orange => [242, 134, 28],
            Self::Yellow => [246, 216, 48],
            Self::Green => [28, 140, 60],
            Self::Blue => [36, 84, 210],
            Self::Purple => [132, 52, 176],
            Self::White => [246, 246, 246],
            Self::Black => [22, 22, 26],
        }
    }
}

impl Figure {
    pub const ALL: [Self; 6] = [Self::Circle, Self::Square, Self::Triangle, Self::Star, Self::Ring, Self::Cross];

    fn word(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Cross => "cross",
        }
    }

    /// The figure about a centre, within `radius` quarter pixels.
    fn form(self, x: i32, y: i32, radius: i32) -> Form {
        // Corners in thousandths of the radius.
        let corners: &[(i32, i32)] = match self {
            Self::Circle => return Form::Ellipse { x, y, rx: radius, ry: radius },
            Self::Ring => return Form::Ring { x, y, outer: radius, inner: radius * 11 / 20 },
            Self::Square => &[(-850, -850), (850, -850), (850, 850), (-850, 850)],
            Self::Triangle => &[(0, -950), (950, 750), (-950, 750)],
            Self::Star => &[
                (0, -1000),
                (235, -324),
                (951, -309),
                (380, 124),
                (588, 809),
                (0, 400),
                (-588, 809),
                (-380, 124),
                (-951, -309),
                (-235, -324),
            ],
            Self::Cross => &[
                (-320, -950),
                (320, -950),
                (320, -320),
                (950, -320),
                (950, 320),
                (320, 320),
                (320, 950),
                (-320, 950),
                (-320, 320),
                (-950, 320),
                (-950, -320),
                (-320, -320),
            ],
        };
        Form::Polygon(corners.iter().map(|(dx, dy)| (x + dx * radius / 1000, y + dy * radius / 1000)).collect())
    }
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The radius, in hundredths of the picture's shorter side.
    fn percent(self) -> i32 {
        match self {
            Self::Small => 8,
            Self::Medium => 14,
            Self::Large => 23,
        }
    }
}

impl Place {
    pub const ALL: [Self; 5] = [Self::Left, Self::Right, Self::Top, Self::Bottom, Self::Middle];

    /// The centre in hundredths of the sides, from the left and from the top.
    fn centre(self) -> (i32, i32) {
        match self {
            Self::Left => (24, 50),
            Self::Right => (76, 50),
            Self::Top => (50, 25),
            Self::Bottom => (50, 76),
            Self::Middle => (50, 50),
        }
    }
}

impl Backdrop {
    pub const ALL: [Self; 8] =
        [Self::Hill, Self::Sea, Self::Desert, Self::Night, Self::Snow, Self::Wall, Self::Sunset, Self::Floor];

    fn words(self) -> &'static str {
        match self {
            Self::Hill => "a green hill",
            Self::Sea => "the blue sea",
            Self::Desert => "a sandy desert",
            Self::Night => "a dark night sky",
            Self::Snow => "a snowy field",
            Self::Wall => "a brick wall",
            Self::Sunset => "a glowing sunset",
            Self::Floor => "a grey tiled floor",
        }
    }

    /// Whether a thing can be above it.
    fn is_ground(self) -> bool {
        matches!(self, Self::Hill | Self::Sea | Self::Desert | Self::Snow)
    }
}

impl Scene {
    /// Any scene, of 160 to 420 pixels a side and an aspect within 2:3 to 3:2.
    pub fn random(rng: &mut Rng) -> Self {
        let width_px = rng.between(240, 420);
        let height_px = (width_px * rng.between(68, 145) / 100).clamp(160, 420);
        Self {
            colour: *rng.pick(&Colour::ALL),
            figure: *rng.pick(&Figure::ALL),
            size: *rng.pick(&Size::ALL),
            place: *rng.pick(&Place::ALL),
            backdrop: *rng.pick(&Backdrop::ALL),
            // One figure is the most usual.
            count: *rng.pick(&[1, 1, 1, 2, 3, 4]),
            jitter: rng.bits(),
            width_px,
            height_px,
        }
    }

    /// `two small red circles`, and whether that is a plural.
    fn subject(&self) -> (String, bool) {
        let size = match self.size {
            Size::Small => "small ",
            Size::Medium => "",
            Size::Large => "large ",
        };
        let described = format!("{size}{} {}", self.colour.word(), self.figure.word());
        let plural = if self.figure == Figure::Cross { "es" } else { "s" };
        match self.count {
            1 if described.starts_with('o') => (format!("an {described}"), false),
            1 => (format!("a {described}"), false),
            2 => (format!("two {described}{plural}"), true),
            3 => (format!("three {described}{plural}"), true),
            _ => (format!("four {described}{plural}"), true),
        }
    }

    /// A short alt text, such as `two small red circles`.
    pub(crate) fn caption(&self) -> String {
        self.subject().0
    }

    /// `high above a green hill`.
    fn whereabouts(&self) -> String {
        let relation = match (self.place, self.backdrop.is_ground()) {
            (Place::Left, _) => "on the left side of",
            (Place::Right, _) => "on the right side of",
            (Place::Top, true) => "high above",
            (Place::Top, false) => "at the top of",
            (Place::Bottom, true) => "low in front of",
            (Place::Bottom, false) => "at the bottom of",
            (Place::Middle, _) => "in the middle of",
        };
        format!("{relation} {}", self.backdrop.words())
    }
}

/// Says what `scene` shows; `rng` chooses the wording only.
pub fn sentence(scene: &Scene, rng: &mut Rng) -> String {
    let (subject, plural) = scene.subject();
    let whereabouts = scene.whereabouts();
    let verbs: &[(&str, &str)] = match scene.place {
        Place::Top => &[("floats", "float"), ("hangs", "hang"), ("hovers", "hover")],
        _ => &[("rests", "rest"), ("stands", "stand"), ("appears", "appear")],
    };
    let (singular_verb, plural_verb) = *rng.pick(verbs);
    let verb = if plural { plural_verb } else { singular_verb };
    let is = if plural { "are" } else { "is" };
    match rng.below(5) {
        0 | 1 => format!("{} {verb} {whereabouts}.", capital(&subject)),
        2 => format!("In this picture {subject} {verb} {whereabouts}."),
        3 => format!("Here you can see {subject} {whereabouts}."),
        _ => format!("{} there {is} {subject}.", capital(&whereabouts)),
    }
}

/// `text` with its first letter, an ASCII one, as a capital.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Draws `scene`.
#[must_use]
pub fn draw(scene: &Scene) -> RgbImage {
    let mut rng = Rng::new(scene.jitter);
    let mut canvas = backdrop(scene, &mut rng);
    let (width, height) = (side(scene.width_px) * Q, side(scene.height_px) * Q);
    let (across, down) = scene.place.centre();
    let in_column = matches!(scene.place, Place::Left | Place::Right);
    let count = i32::try_from(scene.count.clamp(1, 4)).expect("clamped");
    // A row must fit its side, and a column also half the width.
    let (room, breadth) = if in_column { (height, width / 2) } else { (width, height / 2) };
    let wanted = scene.size.percent() * width.min(height) / 100;
    let radius = wanted.min(room * 9 / (22 * count)).min(breadth * 9 / 20);
    let step = radius * 23 / 10;
    let x = width * (across + rng.jitter(3)) / 100;
    let y = height * (down + rng.jitter(3)) / 100;
    let ink = shade(scene.colour.ink(), rng.jitter(12));
    // An outline keeps white on snow and black on night visible.
    let outline = if scene.colour == Colour::Black { [225, 225, 225] } else { [40, 40, 44] };
    for nth in 0..count {
        let along = step * (2 * nth - (count - 1)) / 2;
        let (x, y) = if in_column { (x, y + along) } else { (x + along, y) };
        let rim = (radius / 14).max(Q);
        canvas.fill(&scene.figure.form(x, y, radius + rim), outline);
        canvas.fill(&scene.figure.form(x, y, radius - rim), ink);
    }
    canvas.into_image()
}

/// Draws what is behind the figures.
fn backdrop(scene: &Scene, rng: &mut Rng) -> Canvas {
    let (width_px, height_px) = (scene.width_px, scene.height_px);
    let (width, height) = (side(width_px) * Q, side(height_px) * Q);
    let tone = rng.jitter(10);
    let sky = |top: Ink, bottom: Ink| Canvas::gradient(width_px, height_px, shade(top, tone), shade(bottom, tone));
    let horizon = height * i32::try_from(rng.between(55, 65)).expect("a percentage") / 100;
    let below = |top: i32| Form::rectangle(0, top, width, height - top);
    match scene.backdrop {
        Backdrop::Hill => {
            let mut canvas = sky([150, 200, 240], [220, 238, 250]);
            let x = width * i32::try_from(rng.between(35, 65)).expect("a percentage") / 100;
            canvas.fill(&Form::Ellipse { x, y: height, rx: width * 3 / 4, ry: height - horizon }, [96, 176, 80]);
            canvas
        }
        Backdrop::Sea => {
            let mut canvas = sky([205, 228, 240], [240, 245, 240]);
            let sea = shade([40, 110, 170], tone);
            canvas.fill(&below(horizon), sea);
            for wave in 0..5 {
                let top = horizon + (height - horizon) * (wave * 2 + 1) / 11;
                let left = width * i32::try_from(rng.below(50)).expect("a percentage") / 100;
                canvas.fill(&Form::rectangle(left, top, width / 2, 2 * Q), shade(sea, 35));
            }
            canvas
        }
        Backdrop::Desert => {
            let mut canvas = sky([250, 226, 170], [252, 240, 210]);
            for (dune, ink) in [(0, [222, 184, 110]), (1, [206, 164, 88])] {
                let x = width * (rng.jitter(20) + 25 + 50 * dune) / 100;
                let form = Form::Ellipse { x, y: height + height / 6, rx: width * 4 / 5, ry: height * 13 / 25 };
                canvas.fill(&form, ink);
            }
            canvas
        }
        Backdrop::Night => {
            let mut canvas = sky([14, 16, 48], [44, 44, 96]);
            for _ in 0..24 {
                let x = rng.below(width_px);
                let y = rng.below(height_px);
                canvas.fill(&Form::rectangle(side(x) * Q, side(y) * Q, 2 * Q, 2 * Q), [250, 250, 220]);
            }
            canvas
        }
        Backdrop::Snow => {
            let mut canvas = sky([168, 182, 200], [206, 214, 226]);
            canvas.fill(&below(horizon), [238, 242, 248]);
            for tree in 0..5 {
                let x = width * (10 + 20 * tree + rng.jitter(6)) / 100;
                let tall = height * i32::try_from(rng.between(10, 18)).expect("a percentage") / 100;
                let form = Form::Polygon(vec![(x, horizon - tall), (x + tall / 2, horizon), (x - tall / 2, horizon)]);
                canvas.fill(&form, [60, 92, 84]);
            }
            canvas
        }
        Backdrop::Wall => {
            let mut canvas = sky([196, 188, 180], [184, 176, 168]);
            let (brick, course) = (48 * Q, 22 * Q);
            for row in 0..=height / course {
                for column in -1..=width / brick {
                    let left = column * brick + (row % 2) * brick / 2;
                    let form = Form::rectangle(left + Q, row * course + Q, brick - 3 * Q, course - 3 * Q);
                    canvas.fill(&form, shade([164, 84, 62], tone + rng.jitter(10)));
                }
            }
            canvas
        }
        Backdrop::Sunset => {
            let mut canvas = sky([108, 62, 130], [252, 168, 84]);
            let mut ridge = vec![(0, height)];
            for peak in 0..=8 {
                ridge.push((width * peak / 8, height * (80 + rng.jitter(8)) / 100));
            }
            ridge.push((width, height));
            canvas.fill(&Form::Polygon(ridge), [52, 36, 64]);
            canvas
        }
        Backdrop::Floor => {
            let mut canvas = sky([176, 178, 182], [176, 178, 182]);
            let tile = width.min(height) / 6;
            for row in 0..=height / tile {
                for column in 0..=width / tile {
                    if (row + column) % 2 == 0 {
                        let form = Form::rectangle(column * tile, row * tile, tile, tile);
                        canvas.fill(&form, shade([122, 124, 130], tone));
                    }
                }
            }
            canvas
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        Scene {
            colour: Colour::Red,
            figure: Figure::Circle,
            size: Size::Medium,
            place: Place::Top,
            backdrop: Backdrop::Hill,
            count: 1,
            jitter: 1,
            width_px: 200,
            height_px: 160,
        }
    }

    #[test]
    fn a_sentence_names_colour_figure_place_and_backdrop() {
        let scene = Scene { count: 3, size: Size::Large, figure: Figure::Cross, ..scene() };
        for seed in 0..20 {
            let sentence = sentence(&scene, &mut Rng::new(seed)).to_lowercase();
            for words in ["three large red crosses", "high above a green hill"] {
                assert!(sentence.contains(words), "`{words}` is not in `{sentence}`");
            }
        }
    }

    #[test]
    fn an_article_fits_its_colour() {
        let scene = Scene { colour: Colour::Orange, ..scene() };
        assert_eq!(scene.subject().0, "an orange circle");
    }

    #[test]
    fn the_figure_has_its_colour_where_the_sentence_says() {
        let image = draw(&scene());
        let [red, green, blue] = image.get_pixel(100, 40).0;
        assert!(red > 190 && green < 60 && blue < 60, "{red} {green} {blue}");
        let [red, green, blue] = image.get_pixel(100, 150).0;
        assert!(green > red && green > blue, "the hill is green: {red} {green} {blue}");
    }

    #[test]
    fn four_large_figures_stay_inside_the_picture() {
        for place in Place::ALL {
            let scene = Scene { count: 4, size: Size::Large, place, figure: Figure::Square, ..scene() };
            let image = draw(&scene);
            let outline = |x: u32, y: u32| image.get_pixel(x, y).0 == [40, 40, 44];
            assert!((0..200).all(|x| !outline(x, 0) && !outline(x, 159)), "{place:?} touches top or bottom");
            assert!((0..160).all(|y| !outline(0, y) && !outline(199, y)), "{place:?} touches a side");
        }
    }
}
