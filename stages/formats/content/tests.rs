use url::Url;
use weft_core::limits::Limits;

use super::*;
use crate::formats::page::{ExtensionRule, PageImages, images_and_blocks};

/// A paragraph of 20 words.
const LONG: &str =
    "The weaver threw the shuttle across the loom again and again until the cloth was as long as the hall.";

fn read(html: &str) -> (PageImages, Vec<Block>) {
    let url = Url::parse("http://a.example/").unwrap();
    images_and_blocks(html, &url, &Limits::default(), ExtensionRule::WholeUrl).unwrap()
}

fn blocks(html: &str) -> Vec<String> {
    read(html).1.into_iter().map(|block| block.text).collect()
}

fn sentences(html: &str, lines: LineRule) -> Vec<String> {
    main_text(&read(html).1, lines).sentences
}

#[test]
fn blocks_end_where_block_elements_and_empty_lines_do() {
    let html = "<p>One <b>t</b>wo\n three<p>four<br>five<br><br>six<div>seven<script>x</script> eight<a href=x> nine</a></div>ten\
                <table><tr><td>eleven<td>twelve</table>";
    let expected = ["One two three", "four\nfive", "six", "seven eight nine", "ten", "eleven", "twelve"];
    assert_eq!(blocks(html), expected);
    let of_words: Vec<(u32, u32)> = read(html).1.iter().map(|block| (block.words, block.link_words)).collect();
    assert_eq!(of_words, [(3, 0), (2, 0), (1, 0), (3, 1), (1, 0), (1, 0), (1, 0)]);
}

#[test]
fn what_is_not_shown_or_is_furniture_by_name_makes_no_block() {
    let html = "<header>a</header><nav>b</nav><p hidden>c</p><p style='DISPLAY : none'>d</p><div role=navigation>e</div>\
                <article><header>Title</header>f<footer>g</footer></article><noscript>h</noscript><form>i<button>j</button>\
                </form><aside>k<p>l</p></aside><span aria-hidden=true>m</span><footer>n</footer>";
    assert_eq!(blocks(html), ["Title", "f", "g", "i"]);
}

#[test]
fn a_block_knows_its_place_among_the_pages_characters() {
    let (page, blocks) = read("<nav>Menu é</nav><p>One <i>two</i></p><p>three</p>");
    assert_eq!(page.text, "MenuéOnetwothree");
    let places: Vec<usize> = blocks.iter().map(|block| block.text_before_chars).collect();
    assert_eq!(places, [5, 11]);
}

#[test]
fn the_papers_tree_decides_by_words_and_links_of_three_blocks() {
    let block = |words, link_words| Block { words, link_words, ..Block::default() };
    let plain = |words| block(words, 0);
    let (linked, menu) = (block(9, 3), block(9, 6));
    assert!(!is_content(None, &block(60, 21), None), "more than a third is links");
    assert!(is_content(None, &plain(17), None));
    assert!(!is_content(None, &plain(16), Some(&plain(15))), "short, and nothing before it");
    assert!(is_content(None, &plain(1), Some(&plain(16))), "a heading of a long block");
    assert!(is_content(Some(&plain(5)), &plain(1), None));
    assert!(!is_content(Some(&plain(4)), &plain(16), None));
    assert!(is_content(Some(&linked), &plain(16), None), "a third of links is no menu");
    assert!(!is_content(Some(&menu), &plain(40), Some(&plain(17))), "right behind a menu");
    assert!(is_content(Some(&menu), &plain(41), None));
    assert!(is_content(Some(&menu), &plain(1), Some(&plain(18))));
}

#[test]
fn sentences_end_with_their_block_and_images_stand_between_them() {
    let html = format!("<img src=0.png><h2>A heading</h2><p>{LONG} Then<img src=1.png> she rested.</p><img src=2.png>");
    let (page, blocks) = read(&html);
    let text = main_text(&blocks, LineRule::All);
    assert_eq!(text.sentences, ["A heading", LONG, "Then she rested."]);
    let places: Vec<Option<u32>> =
        page.references.iter().map(|reference| text.last_before(reference.text_before_chars)).collect();
    assert_eq!(places, [None, Some(1), Some(2)]);
}

#[test]
fn a_sentence_said_in_the_menu_too_is_placed_where_it_is_content() {
    let html = format!("<nav>{LONG}</nav><img src=0.png><p>{LONG}</p><img src=1.png>");
    let (page, blocks) = read(&html);
    let text = main_text(&blocks, LineRule::All);
    let places: Vec<Option<u32>> =
        page.references.iter().map(|reference| text.last_before(reference.text_before_chars)).collect();
    assert_eq!(places, [None, Some(0)]);
}

#[test]
fn c4s_lines_end_in_a_mark_have_five_words_and_speak_of_no_policy() {
    let html = format!(
        "<p>A heading<br>{LONG}<br>Too short.<br>It goes on and on and on...<br>Please enable your JavaScript to see this.\
         <br>We make use of cookies on this site.<br>He said \"it is as you see it\"<br>{}</p><p>{LONG}",
        "x".repeat(1_001) + " is a word too long for it."
    );
    assert_eq!(sentences(&html, LineRule::C4), [LONG, "He said \"it is as you see it\"", LONG]);
    assert!(sentences(&html, LineRule::All).len() > 6);
}

#[test]
fn a_page_of_nothing_but_links_has_no_sentence() {
    assert!(
        sentences("<ul><li><a href=a>One link here</a><li><a href=b>Another link there</a></ul>", LineRule::All)
            .is_empty()
    );
    assert!(sentences("", LineRule::All).is_empty());
}
