//! Illustrates one article: draws its pictures, encodes or breaks them, and says what their URLs answer.

use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::archive::{Capture, Second};
use crate::broken::{huge_png, jpeg, png};
use crate::page::Site;
use crate::picture::{Ad, Portrait, draw_ad, draw_flagged, draw_portrait, portrait_sentence};
use crate::rng::Rng;
use crate::scene::{Backdrop, Scene, draw, sentence};
use crate::truth::{ImageTruth, Kind, Reference, Trick};
use crate::web::{Served, headers, moved};

/// A picture on its way into a page.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) truth: ImageTruth,
    /// What it shows; becomes a sentence of the page.
    pub(crate) words: Option<String>,
    /// The larger copy that its srcset names.
    pub(crate) larger: Option<ImageTruth>,
}

/// Draws the page's own pictures, and appends what their URLs answer.
pub(crate) fn illustrate(
    index: u32,
    site: &Site,
    trick: Trick,
    at: Second,
    rng: &mut Rng,
    captures: &mut Vec<Capture>,
) -> Vec<Picture> {
    // Kind, sentence, alt text, pixels.
    let mut drawn: Vec<(Kind, Option<String>, String, RgbImage)> = Vec::new();
    // One backdrop each: pictures of a page differ as a whole, not in a detail only.
    let mut backdrops = Backdrop::ALL;
    rng.shuffle(&mut backdrops);
    let contents = match trick {
        Trick::Surplus => 6,
        _ if trick.broken_kind().is_some() => rng.between(2, 4),
        _ => rng.between(1, 4),
    };
    for (nth, &backdrop) in (0..contents).zip(&backdrops) {
        let scene = Scene { backdrop, ..Scene::random(rng) };
        // Of a surplus, the fifth picture and the sixth are in no sentence.
        let words = (nth < 4).then(|| sentence(&scene, rng));
        let alt = if rng.chance(60) { scene.caption() } else { String::new() };
        drawn.push((Kind::Content, words, alt, draw(&scene)));
    }
    if trick == Trick::Face || (trick != Trick::Surplus && rng.chance(20)) {
        let portrait = Portrait::random(rng);
        let words = portrait_sentence(&portrait, rng);
        drawn.push((Kind::Face, Some(words), "portrait".to_owned(), draw_portrait(&portrait)));
    }
    if trick == Trick::Ads {
        let (width_px, height_px) = *rng.pick(&Ad::SIZES_PX[..2]);
        let banner = Ad { width_px, height_px, jitter: rng.bits() };
        drawn.push((Kind::Ad, None, String::new(), draw_ad(&banner)));
    }
    if trick == Trick::Ads || rng.chance(25) {
        drawn.push((Kind::Ad, None, "offer".to_owned(), draw_ad(&Ad::random_box(rng))));
    }
    if trick == Trick::Flagged || rng.chance(8) {
        let (width_px, height_px) = (rng.between(200, 320), rng.between(200, 320));
        drawn.push((Kind::Flagged, None, String::new(), draw_flagged(width_px, height_px, rng.bits())));
    }
    if trick == Trick::Duplicates || rng.chance(10) {
        let first = drawn[0].3.clone();
        drawn.push((Kind::Duplicate, None, String::new(), first));
    }
    if trick == Trick::Duplicates {
        let smaller = shrunk(&drawn[0].3);
        drawn.push((Kind::Duplicate, None, String::new(), smaller));
    }

    let mut pictures = Vec::new();
    for (nth, (kind, words, alt, pixels)) in drawn.into_iter().enumerate() {
        // The page's trick is played on its first picture.
        let is_first = nth == 0;
        let kind = trick.broken_kind().filter(|_| is_first).unwrap_or(kind);
        let by = trick.reference().filter(|_| is_first).unwrap_or(Reference::Src);
        let root = match (kind, rng.below(5)) {
            _ if by == Reference::Base => site.root.as_str(),
            (Kind::Ad, 0..3) => "https://ads.example",
            (Kind::Ad, _) | (_, 1..) => site.root.as_str(),
            (_, 0) => "https://static.example",
        };
        let folder = if kind == Kind::Ad { "ads" } else { "pictures" };
        let (body, mime, extension) = encode(&pixels, kind, rng);
        let mut url = format!("{root}/{folder}/{index:04}-{nth}.{extension}");
        if by == Reference::Query {
            url.push_str("?w=640");
        }
        let later = at.later(u32::try_from(nth).expect("few pictures") + 1);
        let mut headers = headers(later, mime);
        if trick == Trick::NoAiImage && is_first {
            headers.push(("X-Robots-Tag".to_owned(), "noai, noimageai".to_owned()));
        }
        captures.extend(picture_captures(&mut url, kind, by, later, Served::new(200, headers, body)));
        let size_px = is_decodable(kind).then(|| pixels.dimensions());
        let truth = image_truth(url, kind, by, alt, size_px);
        let mut larger = None;
        if trick == Trick::Srcset && is_first {
            let pixels = resize(&pixels, pixels.width() * 3 / 2, pixels.height() * 3 / 2, FilterType::Triangle);
            let url = format!("{}/pictures/{index:04}-{nth}-large.jpg", site.root);
            captures.push(Capture::new(
                url.clone(),
                later,
                Served::new(200, self::headers(later, "image/jpeg"), jpeg(&pixels, 80)),
            ));
            larger =
                Some(image_truth(url, Kind::Duplicate, Reference::Srcset, String::new(), Some(pixels.dimensions())));
        }
        pictures.push(Picture { truth, words, larger });
    }
    pictures
}

/// A picture's truth, before its sentence is known.
pub(crate) fn image_truth(
    url: String,
    kind: Kind,
    by: Reference,
    alt: String,
    size_px: Option<(u32, u32)>,
) -> ImageTruth {
    let (width_px, height_px) = (size_px.map(|size| size.0), size_px.map(|size| size.1));
    ImageTruth { url, kind, by, sentence: None, alt, width_px, height_px }
}

/// Nine tenths of a picture's sides, if both stay at 150 pixels or more.
fn shrunk(pixels: &RgbImage) -> RgbImage {
    let (width, height) = (pixels.width() * 9 / 10, pixels.height() * 9 / 10);
    resize(pixels, width.max(150), height.max(150), FilterType::Triangle)
}

/// Whether something lies behind the URL, in the archive or live, that is a picture.
fn is_decodable(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Broken404
            | Kind::BrokenRedirectLoop
            | Kind::BrokenTruncated
            | Kind::BrokenHtml
            | Kind::BrokenHuge
            | Kind::BrokenEmpty
    )
}

/// The body of a picture, its media type and the extension of its name.
fn encode(pixels: &RgbImage, kind: Kind, rng: &mut Rng) -> (Vec<u8>, &'static str, &'static str) {
    let as_jpeg = |rng: &mut Rng| jpeg(pixels, u8::try_from(rng.between(70, 90)).expect("a percentage"));
    match kind {
        Kind::BrokenTruncated => {
            let mut body = as_jpeg(rng);
            body.truncate(body.len() / 2);
            (body, "image/jpeg", "jpg")
        }
        Kind::BrokenHtml => (b"<html><body>Please sign in to see this.</body></html>".to_vec(), "image/jpeg", "jpg"),
        Kind::BrokenHuge => (huge_png(), "image/png", "png"),
        Kind::BrokenEmpty => (Vec::new(), "image/jpeg", "jpg"),
        _ if rng.chance(40) => (png(pixels), "image/png", "png"),
        _ => (as_jpeg(rng), "image/jpeg", *rng.pick(&["jpg", "jpg", "jpg", "jpeg", "JPG"])),
    }
}

/// What the URL of a picture answers, and for redirects what their targets answer; a redirect gets a `url` of its own.
fn picture_captures(url: &mut String, kind: Kind, by: Reference, at: Second, served: Served) -> Vec<Capture> {
    let target = url.clone();
    let capture = |url: &str, served: Served| Capture::new(url.to_owned(), at, served);
    if by == Reference::Redirect {
        *url = target.replace("/pictures/", "/old/");
        return vec![capture(&target, served), capture(url, moved(at, &target))];
    }
    match kind {
        Kind::Broken404 => {
            let body = b"<html><body>There is no such picture.</body></html>".to_vec();
            vec![capture(&target, Served::new(404, headers(at, "text/html"), body))]
        }
        Kind::BrokenRedirectLoop => {
            let other = target.replace("/pictures/", "/round/");
            vec![capture(&target, moved(at, &other)), capture(&other, moved(at, &target))]
        }
        Kind::BrokenMissing => vec![Capture { archived: false, ..capture(&target, served) }],
        Kind::BrokenHtml => vec![Capture { detected: Some("text/html"), ..capture(&target, served) }],
        _ => vec![capture(&target, served)],
    }
}
