//! Writes one article: its sentences, its pictures, its HTML, and what its site answers for each of their URLs.
//!
//! Pictures stand near the paragraph of their sentence more often than not, but not always.

use std::ops::Range;

use encoding_rs::{Encoding, GBK, SHIFT_JIS, UTF_8, WINDOWS_1252};

use crate::archive::{Capture, Second};
use crate::broken::{brotli, chunked, gzip, gzip_bomb};
use crate::illustrate::{Picture, illustrate, image_truth};
use crate::prose::{CHINESE, FILLERS, JAPANESE, WESTERN};
use crate::rng::Rng;
use crate::truth::{ImageTruth, Kind, Reference, Trick};
use crate::web::{Served, headers, moved};

/// What the bomb inflates to; far over any limit on pages.
const BOMB_MEBIBYTES: u32 = 200;
/// More captures of one URL than lines in an index block, so that the key lies in two blocks.
const MANY_CAPTURES: u32 = 24;

/// A site; its pages refer to its furniture.
#[derive(Debug)]
pub(crate) struct Site {
    /// Scheme and authority, without a slash at the end.
    pub(crate) root: String,
    /// The picture at the head of each page: path, kind, sides in pixels.
    pub(crate) header: (String, Kind, (u32, u32)),
}

impl Site {
    /// The path of the small picture that all sites have, 32 × 32 pixels.
    pub(crate) const DOT: &'static str = "/img/dot.png";
}

/// One article, made.
#[derive(Debug)]
pub(crate) struct Page {
    /// As the document names it.
    pub(crate) url: String,
    pub(crate) at: Second,
    pub(crate) sentences: Vec<String>,
    pub(crate) text: String,
    pub(crate) images: Vec<ImageTruth>,
    /// The page and its pictures.
    pub(crate) captures: Vec<Capture>,
}

/// Writes the article number `index` of `site`.
pub(crate) fn compose(index: u32, site: &Site, trick: Trick, mut rng: Rng) -> Page {
    let at = Second::new(index * 61);
    let path = format!("/notes/{index:04}.html");
    let url = format!("{}{path}", site.root);
    let mut captures = Vec::new();
    let mut pictures =
        if trick == Trick::NoImage { Vec::new() } else { illustrate(index, site, trick, at, &mut rng, &mut captures) };
    let sentences = tell(&mut pictures, trick, &mut rng);
    let paragraphs = paragraphs(&sentences, &mut rng);
    let (body, images) = lay_out(pictures, &paragraphs, site, trick, &mut rng);
    let html = html(&format!("Note {index}"), &body, trick);
    captures.extend(page_captures(&url, at, html, trick));

    let mut text: Vec<String> = paragraphs.into_iter().map(|paragraph| paragraph.text).collect();
    let mut page = Page { url, at, sentences, text: String::new(), images, captures };
    match trick {
        Trick::EmptyText => {
            text.clear();
            page.sentences.clear();
            for image in &mut page.images {
                image.sentence = None;
            }
        }
        Trick::SecondOff => page.at = at.later(1),
        Trick::ManyCaptures => page.at = at.later((MANY_CAPTURES - 1) * 3_600),
        Trick::OtherUrl => page.url = other_scheme(&page.url),
        _ => {}
    }
    page.text = text.join("\n");
    page
}

/// The sentences of the page, in their order; tells each picture where its own stands.
fn tell(pictures: &mut [Picture], trick: Trick, rng: &mut Rng) -> Vec<String> {
    let mut told: Vec<(Option<usize>, String)> = Vec::new();
    for (nth, picture) in pictures.iter_mut().enumerate() {
        if let Some(words) = picture.words.take() {
            told.push((Some(nth), words));
        }
    }
    match trick {
        Trick::Windows1252 => told.push((None, WESTERN.to_owned())),
        Trick::ShiftJis => told.push((None, JAPANESE.to_owned())),
        Trick::Gbk => told.push((None, CHINESE.to_owned())),
        _ => {}
    }
    let wanted = if trick == Trick::Surplus { 4 } else { usize::try_from(rng.between(4, 14)).expect("few") };
    let mut fillers = FILLERS;
    rng.shuffle(&mut fillers);
    let missing = wanted.saturating_sub(told.len());
    told.extend(fillers.iter().take(missing).map(|filler| (None, (*filler).to_owned())));
    rng.shuffle(&mut told);
    for (index, (picture, _)) in told.iter().enumerate() {
        if let Some(nth) = picture {
            pictures[*nth].truth.sentence = Some(u32::try_from(index).expect("few sentences"));
        }
    }
    told.into_iter().map(|(_, words)| words).collect()
}

/// Some sentences of a page in a row.
struct Paragraph {
    /// Their indices.
    range: Range<usize>,
    text: String,
}

/// Cuts the sentences into paragraphs of one to three.
fn paragraphs(sentences: &[String], rng: &mut Rng) -> Vec<Paragraph> {
    let mut paragraphs = Vec::new();
    let mut start = 0;
    while start < sentences.len() {
        let end = (start + usize::try_from(rng.between(1, 3)).expect("few")).min(sentences.len());
        paragraphs.push(Paragraph { range: start..end, text: sentences[start..end].join(" ") });
        start = end;
    }
    paragraphs
}

/// Places the pictures among the paragraphs: the page's body, and the pictures in its order.
fn lay_out(
    pictures: Vec<Picture>,
    paragraphs: &[Paragraph],
    site: &Site,
    trick: Trick,
    rng: &mut Rng,
) -> (String, Vec<ImageTruth>) {
    let mut places: Vec<(usize, Picture)> = Vec::new();
    for picture in pictures {
        let own = picture.truth.sentence.and_then(|index| {
            let index = usize::try_from(index).expect("few sentences");
            paragraphs.iter().position(|paragraph| paragraph.range.contains(&index))
        });
        let bound = u32::try_from(paragraphs.len()).expect("few paragraphs");
        let anywhere = usize::try_from(rng.below(bound)).expect("few paragraphs");
        places.push((own.filter(|_| rng.chance(70)).unwrap_or(anywhere), picture));
    }
    // Stable: what shares a paragraph keeps its order.
    places.sort_by_key(|(paragraph, _)| *paragraph);
    let mut places = places.into_iter().peekable();

    let mut body = String::new();
    let mut images = Vec::new();
    if trick != Trick::NoImage {
        let (path, kind, size_px) = &site.header;
        body.push_str(&format!("<header><a href=\"/\"><img src=\"{path}\" alt=\"\"></a></header>\n"));
        images.push(image_truth(format!("{}{path}", site.root), *kind, Reference::Src, String::new(), Some(*size_px)));
    }
    body.push_str("<article>\n");
    for (index, paragraph) in paragraphs.iter().enumerate() {
        body.push_str(&format!("<p>{}</p>\n", escaped(&paragraph.text)));
        while let Some((_, picture)) = places.next_if(|(place, _)| *place == index) {
            body.push_str(&element(&picture, site, rng));
            images.push(picture.truth);
            images.extend(picture.larger);
        }
    }
    body.push_str("</article>\n");
    if trick != Trick::NoImage {
        let path = Site::DOT;
        body.push_str(&format!("<footer><img src=\"{path}\" alt=\"\" width=\"32\" height=\"32\"></footer>\n"));
        images.push(image_truth(
            format!("{}{path}", site.root),
            Kind::Icon,
            Reference::Src,
            String::new(),
            Some((32, 32)),
        ));
    }
    (body, images)
}

/// The HTML element of a picture.
fn element(picture: &Picture, site: &Site, rng: &mut Rng) -> String {
    let ImageTruth { url, by, alt, width_px, height_px, .. } = &picture.truth;
    let path = url.strip_prefix(&site.root);
    let src = match (path, rng.below(4)) {
        (Some(path), _) if *by == Reference::Base => path.replace("/pictures/", ""),
        (Some(path), 0) => format!("..{path}"),
        (Some(path), 1) => path.to_owned(),
        // Relative to the scheme, where the page has the same.
        (Some(_), 2) => url.replace("https:", "").replace("http:", ""),
        _ => url.clone(),
    };
    let mut attributes = format!(" alt=\"{}\"", escaped(alt));
    if let (Some(width_px), Some(height_px), true) = (width_px, height_px, rng.chance(50)) {
        attributes.push_str(&format!(" width=\"{width_px}\" height=\"{height_px}\""));
    }
    if let Some(larger) = &picture.larger {
        attributes.push_str(&format!(" srcset=\"{src} 1x, {} 2x\"", larger.url));
    }
    match by {
        Reference::Lazy => format!("<img src=\"{}\" data-src=\"{src}\" class=\"lazy\"{attributes}>\n", Site::DOT),
        Reference::Noscript => format!("<noscript><img src=\"{src}\"{attributes}></noscript>\n"),
        _ => format!("<img src=\"{src}\"{attributes}>\n"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The whole page around `body`.
fn html(title: &str, body: &str, trick: Trick) -> String {
    let charset = match trick {
        Trick::ShiftJis => "<meta charset=\"Shift_JIS\">",
        Trick::Gbk => "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=gbk\">",
        // Named by the HTTP head alone.
        Trick::Windows1252 => "",
        _ => "<meta charset=\"utf-8\">",
    };
    let extra = match trick {
        Trick::BaseHref => "<base href=\"/pictures/\">\n",
        Trick::NoAiPage => "<meta name=\"robots\" content=\"noai, noimageai\">\n",
        _ => "",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{charset}\n<title>{title}</title>\n{extra}</head>\n\
         <body>\n{body}</body>\n</html>\n"
    )
}

/// What the page's URL answers.
fn page_captures(url: &str, at: Second, html: String, trick: Trick) -> Vec<Capture> {
    let charset: &'static Encoding = match trick {
        Trick::Windows1252 => WINDOWS_1252,
        Trick::ShiftJis => SHIFT_JIS,
        Trick::Gbk => GBK,
        _ => UTF_8,
    };
    let (bytes, _, has_unmappable) = charset.encode(&html);
    assert!(!has_unmappable, "{} has no letter for some of {url}", charset.name());
    let bytes = bytes.into_owned();
    let content_type = match trick {
        Trick::Windows1252 => "text/html; charset=windows-1252",
        Trick::ShiftJis | Trick::Gbk => "text/html",
        _ => "text/html; charset=utf-8",
    };
    let mut headers = headers(at, content_type);
    let coding = match trick {
        Trick::Gzip | Trick::Bomb => Some(("Content-Encoding", "gzip")),
        Trick::Brotli => Some(("Content-Encoding", "br")),
        Trick::Chunked => Some(("Transfer-Encoding", "chunked")),
        // As Common Crawl writes it: the body is decoded, and the head says what it was.
        Trick::CrawlDecoded => Some(("X-Crawl-Content-Encoding", "gzip")),
        _ => None,
    };
    headers.extend(coding.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let body = match trick {
        Trick::Gzip => gzip(&bytes),
        Trick::Bomb => gzip_bomb(&bytes, BOMB_MEBIBYTES),
        Trick::Brotli => brotli(&bytes),
        Trick::Chunked => chunked(&bytes),
        _ => bytes,
    };
    let capture = |url: &str, at: Second, body: Vec<u8>| {
        Capture::new(url.to_owned(), at, Served::new(200, headers.clone(), body))
    };
    match trick {
        Trick::WrongDigest => vec![Capture { wrong_digest: true, ..capture(url, at, body) }],
        Trick::NotInIndex => vec![Capture { archived: false, ..capture(url, at, body) }],
        Trick::Redirected => {
            let target = url.replace("/notes/", "/moved/");
            vec![Capture::new(url.to_owned(), at, moved(at, &target)), capture(&target, at.later(1), body)]
        }
        Trick::ManyCaptures => (0..MANY_CAPTURES)
            .map(|revision| {
                let mut body = body.clone();
                body.extend(format!("<!-- revision {revision} -->\n").into_bytes());
                capture(url, at.later(revision * 3_600), body)
            })
            .collect(),
        _ => vec![capture(url, at, body)],
    }
}

/// The same URL with the other of http and https.
fn other_scheme(url: &str) -> String {
    match url.strip_prefix("https:") {
        Some(rest) => format!("http:{rest}"),
        None => url.replacen("http:", "https:", 1),
    }
}
