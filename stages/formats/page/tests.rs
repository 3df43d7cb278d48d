use std::time::{Duration, Instant};

use html5ever::tendril::TendrilSink;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};
use scraper::{Html, HtmlTreeSink, Selector};

use super::*;

const URL: &str = "http://example.org/a/page.html";

fn page(html: &str) -> PageImages {
    images(html, &Url::parse(URL).unwrap(), &Limits::default(), ExtensionRule::WholeUrl).unwrap()
}

fn exceeded(html: &str, limits: &Limits) -> &'static str {
    images(html, &Url::parse(URL).unwrap(), limits, ExtensionRule::WholeUrl).unwrap_err().what
}

fn sources(page: &PageImages) -> Vec<(&str, &str)> {
    page.references.iter().map(|reference| (reference.source.as_str(), reference.raw.as_str())).collect()
}

#[test]
fn references_come_in_document_order_with_what_stands_beside_them() {
    let page = page(concat!(
        "<head><meta property=og:image content=/og.jpg><link rel='x IMAGE_SRC' href=link.jpg></head>",
        "<picture><source srcset='p.webp 1x, q.webp 2x'><img src=a.jpg srcset='b.jpg 2w, c.jpg 3w' alt='An A'",
        " width=10 height=20%></picture><img data-src=lazy.jpg><img alt=none><img src=' '><img src=z.png>",
    ));
    assert_eq!(
        sources(&page),
        [
            ("meta", "/og.jpg"),
            ("meta", "link.jpg"),
            ("picture", "p.webp"),
            ("picture", "q.webp"),
            ("src", "a.jpg"),
            ("srcset", "b.jpg"),
            ("srcset", "c.jpg"),
            ("lazy", "lazy.jpg"),
            ("src", "z.png"),
        ]
    );
    let [.., c, lazy, z] = page.references.as_slice() else { panic!("there are references") };
    assert_eq!((c.descriptor.as_deref(), c.largest, c.element_index), (Some("3w"), true, 0));
    assert_eq!((c.alt.as_deref(), c.width.as_deref(), c.height.as_deref()), (Some("An A"), Some("10"), Some("20%")));
    assert_eq!((lazy.element_index, z.element_index), (1, 4));
    assert_eq!(z.url.as_ref().unwrap().as_str(), "http://example.org/a/z.png");
}

#[test]
fn noscript_is_content_and_scripts_are_not() {
    let page = page(concat!(
        "<noscript><img src=head.jpg></noscript><body><noscript><img src=body.jpg></noscript>",
        "<script>'<img src=script.jpg>'</script><template><img src=template.jpg></template>",
    ));
    assert_eq!(sources(&page), [("src", "head.jpg"), ("src", "body.jpg"), ("src", "template.jpg")]);
    let [_, body, template] = page.references.as_slice() else { panic!("there are three") };
    assert!(body.noscript && !body.template && template.template);
}

#[test]
fn urls_are_relative_to_the_first_base_with_an_href() {
    let at = |html: &str| page(html).references[0].url.as_ref().unwrap().to_string();
    assert_eq!(at("<base target=x><base href='//cdn.org/d/'><base href=/e/><img src=f.jpg>"), "http://cdn.org/d/f.jpg");
    assert_eq!(at("<img src=f.jpg><base href=/e/>"), "http://example.org/e/f.jpg");
    assert_eq!(at("<base href='data:,'><img src=f.jpg>"), "http://example.org/a/f.jpg");
    assert_eq!(at("<img src=' \n../ü b.jpg '>"), "http://example.org/%C3%BC%20b.jpg");
}

#[test]
fn the_url_rule_is_that_of_mmc4() {
    let rule = |url: &str, extension| UrlRule::of(Url::parse(url).ok().as_ref(), extension).as_str();
    for (url, whole, path) in [
        ("http://a.org/b.JPG", "kept", "kept"),
        ("https://a.org/b.jpeg", "kept", "kept"),
        ("https://a.org/b.gif", "extension", "extension"),
        ("https://a.org/b.jpg?w=1", "extension", "kept"),
        ("https://a.org/b?c.jpg", "kept", "extension"),
        ("https://a.org/b.jpg#c", "extension", "kept"),
        ("https://a.org/Logos/b.png", "keyword", "keyword"),
        ("https://icons.org/b.png", "keyword", "keyword"),
        ("https://a.org/b.png?from=widget", "extension", "keyword"),
        ("ftp://a.org/b.png", "scheme", "scheme"),
        ("no url", "scheme", "scheme"),
    ] {
        assert_eq!(rule(url, ExtensionRule::WholeUrl), whole, "{url}");
        assert_eq!(rule(url, ExtensionRule::Path), path, "{url}");
    }
}

#[test]
fn candidates_are_distinct_and_come_from_src_alone() {
    let page = page(concat!(
        "<img src=b.jpg srcset='c.jpg 2x'><img src=logo.jpg><img src=a.png><img src=/a/b.jpg>",
        "<img src='data:image/png;base64,AAAA.png'><img data-src=d.jpg>",
    ));
    let urls: Vec<&str> = page.candidates().into_iter().map(Url::as_str).collect();
    assert_eq!(urls, ["http://example.org/a/b.jpg", "http://example.org/a/a.png"]);
    let inline = page.references.iter().find(|reference| reference.raw.starts_with("data:")).unwrap();
    assert_eq!((&inline.url, inline.rule), (&None, UrlRule::Scheme));
}

#[test]
fn an_image_follows_the_last_sentence_that_ends_before_it() {
    let page = page(concat!(
        "<title>One came.</title><img src=0.jpg><p>One <b>ca</b>me.</p><img src=1.jpg>",
        "<div>Two<br>went <img src=2.jpg> home.</div><script>Three left.</script><p>Three\nleft.<img src=3.jpg>",
    ));
    assert_eq!(page.text, "Onecame.Twowenthome.Threeleft.");
    let sentences = ["One came.", "Never there.", "Two went home.", "Three left."];
    assert_eq!(page.positions(&sentences), [None, Some(0), Some(0), Some(3)]);
    assert_eq!(page.references[1].text_before_chars, "Onecame.".len());
    assert_eq!(page.positions(&[]), [None; 4]);
}

#[test]
fn positions_count_characters_and_not_bytes() {
    let page = page("<p>Äöü ßß. Ende.<img src=a.jpg>");
    assert_eq!(page.positions(&["Äöü ßß.", "Ende."]), [Some(1)]);
}

#[test]
fn opt_outs_are_listed_with_the_name_that_they_address() {
    let page = page(concat!(
        "<meta name=Robots content='index, NoAI'><meta name=googlebot content=noimageindex>",
        "<meta name=tdm-reservation content=1><meta name=robots content=all>",
        "<meta name=description content='about noindex and noai'><meta http-equiv=content-type content=charset>",
    ));
    let opt_outs: Vec<(&str, &str)> =
        page.opt_outs.iter().map(|opt_out| (opt_out.name.as_str(), opt_out.content.as_str())).collect();
    assert_eq!(opt_outs, [("robots", "index, NoAI"), ("googlebot", "noimageindex"), ("tdm-reservation", "1")]);
}

#[test]
fn pages_beyond_the_limits_error_and_do_not_hang() {
    let start = Instant::now();
    for tag in ["<div>", "<b>", "<table><tr><td>", "<template>", "<svg>", "<select>"] {
        let html = format!("{}<img src=a.jpg>", tag.repeat(200_000));
        let nested = images(&html, &Url::parse(URL).unwrap(), &Limits::default(), ExtensionRule::WholeUrl);
        // `select` does not nest.
        assert_eq!(nested.map_err(|e| e.what).err(), (tag != "<select>").then_some("html_depth"), "{tag}");
    }
    let reopened: String = (0..3_000).map(|n| format!("<p><font a{n}>x</p>")).collect();
    assert_eq!(exceeded(&reopened, &Limits::default()), "html_elements");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());

    let limits = Limits { page_images: 2, ..Limits::default() };
    assert_eq!(exceeded(&"<img src=a.jpg>".repeat(3), &limits), "page_images");
    let limits = Limits { page_bytes: 4_096, ..Limits::default() };
    let long_base = format!("<base href='/{}/'>{}", "b".repeat(1_000), "<img src=a>".repeat(20));
    assert_eq!(exceeded(&long_base, &limits), "page_bytes");
    // Document, html, body, p, i: the img is at depth 5.
    let limits = Limits { html_depth: 4, ..Limits::default() };
    assert_eq!(exceeded("<p><i><img src=a>", &limits), "html_depth");
}

#[test]
fn a_meta_that_ends_in_charset_does_not_stop_the_parser() {
    assert_eq!(
        sources(&page("<meta http-equiv=Content-Type content='text/html; charset '><img src=a>")),
        [("src", "a")]
    );
}

/// What is listed when the parser is given every byte to read.
fn read_wholly(html: &str) -> Result<PageImages, LimitExceeded> {
    let limits = Limits::default();
    let tree = tree::parse(html, &limits, Reading::Whole)?;
    Ok(walk(&tree, &Url::parse(URL).unwrap(), &limits, ExtensionRule::WholeUrl, None)?.page)
}

#[test]
fn what_is_cut_from_the_input_alters_nothing() {
    #[rustfmt::skip]
    let pieces = [
        "<div class='a>b' id=c>", "</div>", "<a href=x/>", "<a href='y' class=\"z\">", "</a>", "<b a>", "<b b>", "</b>",
        "<p =\"x>", "<p a=\"b", "<p\ta\n=\r'>'>", "text &amp; a < b", "\"", "'", ">", "/>", "<", "</", "<!-- <div a='", "-->", "<!", "]]>",
        "<![CDATA[ <p a> ", "<script type='t'>", "</script >", "<SCRIPT>", "</Script/", "<!--<script>", "if (a<b) '<p a=\">'",
        "<style a>", "</style>", "<title a>", "</title>", "<textarea rows=2>", "</textarea>", "<xmp>", "</xmp>", "<iframe src=i>",
        "</iframe>", "<noframes>", "</noframes>", "<noscript>", "</noscript>", "<plaintext>", "<select name=n>",
        "<option value=1 selected>", "</select>", "<table border=1>", "<tr a>", "<td colspan='2'>", "</table>",
        "<input type=hidden>", "<svg a=b>", "<g id='1'/>", "<path d=m/>", "<foreignObject>", "<font size=1>", "</svg>",
        "<math><annotation-xml encoding='text/html'>", "</math>", "<template shadowrootmode=open>", "</template>",
        "<img src=a.jpg alt=\"b > c\">", "<image src=b.jpg>", "<picture><source srcset='c.jpg 2x'>", "<base href=/d/>",
        "<meta name=robots content=noai>", "<link rel=image_src href=e.jpg>", "<br clear=all/>", "<hr / a>", "\n", "\r\n", "\0",
        "<form action=x>", "<button type=submit>", "<li value=3>", "<ul>", "</ul>", "<body bgcolor=a>", "<html lang=b>", "<h1 id=x>", "<video src=a controls>", "<select multiple>",
        "<style media=x>p</style>", "<noscript a>", "<svg><title a>", "<symbol id=b>", "<body a=1>", "<html a=2>",
    ];
    let mut state = 5_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % bound as u64).unwrap()
    };
    let mut references = 0;
    for _ in 0..4_000 {
        let mut html = String::new();
        for _ in 0..1 + below(40) {
            html.push_str(pieces[below(pieces.len())]);
            if below(3) == 0 {
                html.push_str("<img src=f.jpg>x");
            }
        }
        let skimmed = images(&html, &Url::parse(URL).unwrap(), &Limits::default(), ExtensionRule::WholeUrl);
        references += skimmed.as_ref().map_or(0, |page| page.references.len());
        assert_eq!(format!("{skimmed:?}"), format!("{:?}", read_wholly(&html)), "{html}");
    }
    assert!(references > 4_000, "{references} references in all");
}

#[test]
fn saved_pages_list_the_same_whether_they_are_read_wholly_or_not() {
    let Some(pages) = conformance::saved_pages() else { return };
    for (file, text) in pages {
        assert_eq!(format!("{:?}", Ok::<_, LimitExceeded>(page(&text))), format!("{:?}", read_wholly(&text)), "{file}");
    }
}

/// Each `src` of an `img` as `scraper` lists it, without scripting.
fn by_scraper(html: &str) -> Vec<String> {
    let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let options = ParseOpts { tree_builder, ..ParseOpts::default() };
    let document = parse_document(HtmlTreeSink::new(Html::new_document()), options).one(html);
    let img = Selector::parse("img[src]").unwrap();
    let sources = document.select(&img).filter_map(|element| element.attr("src"));
    sources.map(|src| src.trim_ascii().to_owned()).filter(|src| !src.is_empty()).collect()
}

fn src_of(page: &PageImages) -> Vec<String> {
    let src = page.references.iter().filter(|reference| reference.source == Source::Src);
    src.map(|reference| reference.raw.trim_ascii().to_owned()).collect()
}

#[test]
fn scraper_lists_the_same_sources() {
    let html =
        "<table><img src=a.jpg><tr><td><noscript><img src=b.jpg></noscript><p><img src=' c.jpg '></table><img src=d>";
    assert_eq!(by_scraper(html), ["a.jpg", "b.jpg", "c.jpg", "d"]);
    assert_eq!(src_of(&page(html)), by_scraper(html));
    for (file, text) in conformance::saved_pages().into_iter().flatten() {
        assert_eq!(src_of(&page(&text)), by_scraper(&text), "{file}");
    }
}
