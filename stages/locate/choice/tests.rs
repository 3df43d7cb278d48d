use super::*;

const TIME: &str = "20190418125754";
const URL: &str = "http://x.example/";
const ALL: [Fallback; 4] = [Fallback::WithinASecond, Fallback::SameUrlkey, Fallback::Revisit, Fallback::SameDigest];

/// A line by what a choice looks at.
fn line(url: &str, timestamp: &str, status: u16, digest: &str, offset: u64) -> CaptureLine {
    CaptureLine {
        urlkey: "example,x)/".to_owned(),
        timestamp: timestamp.to_owned(),
        url: url.to_owned(),
        mime: None,
        mime_detected: None,
        status: Some(status),
        digest: Some(digest.to_owned()).filter(|digest| !digest.is_empty()),
        length: 1,
        offset,
        filename: "w.gz".to_owned(),
        charset: None,
        languages: None,
        redirect: None,
        truncated: None,
    }
}

fn revisit_line(timestamp: &str, status: u16, digest: &str) -> CaptureLine {
    CaptureLine { mime: Some("warc/revisit".to_owned()), ..line(URL, timestamp, status, digest, 99) }
}

fn chosen(lines: &[CaptureLine], fallbacks: &[Fallback]) -> Result<(u64, Option<Fallback>), String> {
    let wanted = Wanted { urlkey: "example,x)/", url: URL, timestamp: TIME };
    match choose(wanted, lines, fallbacks) {
        Ok(fitting) => Ok((fitting.capture.offset, fitting.fallback)),
        Err((reason, _)) => Err(reason.name().into_owned()),
    }
}

#[test]
fn an_exact_line_needs_no_fallback() {
    let lines = [line(URL, "20190418125753", 200, "A", 1), line(URL, TIME, 200, "B", 2)];
    assert_eq!(chosen(&lines, &ALL), Ok((2, None)));
}

#[test]
fn no_fallback_is_tried_that_is_not_named() {
    let lines = [line(URL, "20190418125753", 200, "A", 1)];
    assert_eq!(chosen(&lines, &[]), Err("timestamp_not_in_index".to_owned()));
    assert_eq!(chosen(&lines, &ALL[1..]), Err("timestamp_not_in_index".to_owned()));
    assert_eq!(chosen(&lines, &ALL), Ok((1, Some(Fallback::WithinASecond))));
}

#[test]
fn within_a_second_is_one_second_and_the_same_url() {
    let second = |timestamp: &str| [line(URL, timestamp, 200, "A", 1)];
    assert!(chosen(&second("20190418125755"), &ALL).is_ok());
    assert_eq!(chosen(&second("20190418125756"), &ALL), Err("timestamp_not_in_index".to_owned()));
    let other = [line("http://x.example/?", "20190418125755", 200, "A", 1)];
    assert_eq!(chosen(&other, &ALL), Err("same_urlkey_other_url".to_owned()));
    let moved = [line(URL, "20190418125755", 301, "A", 1)];
    assert_eq!(chosen(&moved, &ALL), Err("timestamp_not_in_index".to_owned()));
    // Seconds, not numbers: a minute ends between these two.
    let wanted = Wanted { urlkey: "example,x)/", url: URL, timestamp: "20190418125959" };
    let lines = [line(URL, "20190418130000", 200, "A", 1)];
    assert_eq!(choose(wanted, &lines, &ALL).unwrap().fallback, Some(Fallback::WithinASecond));
}

#[test]
fn both_neighbours_are_one_capture_only_if_their_payloads_are_one() {
    let around = |later: &str| [line(URL, "20190418125753", 200, "A", 7), line(URL, "20190418125755", 200, later, 3)];
    assert_eq!(chosen(&around("A"), &ALL), Ok((3, Some(Fallback::WithinASecond))));
    assert_eq!(chosen(&around("B"), &ALL), Err("ambiguous_capture".to_owned()));
    // What is ambiguous is a miss, whatever else would fit.
    let mut lines = around("B").to_vec();
    lines.push(line("https://x.example/", TIME, 200, "C", 1));
    assert_eq!(chosen(&lines, &ALL), Err("ambiguous_capture".to_owned()));
    assert_eq!(chosen(&lines, &ALL[1..]), Ok((1, Some(Fallback::SameUrlkey))));
}

#[test]
fn same_urlkey_is_another_url_in_the_same_second() {
    let other = |timestamp: &str| [line("https://www.x.example/", timestamp, 200, "A", 4)];
    assert_eq!(chosen(&other(TIME), &ALL), Ok((4, Some(Fallback::SameUrlkey))));
    assert_eq!(chosen(&other("20190418125755"), &ALL), Err("same_urlkey_other_url".to_owned()));
    let two = [line("https://x.example/", TIME, 200, "A", 1), line("https://www.x.example/", TIME, 200, "B", 2)];
    assert_eq!(chosen(&two, &ALL), Err("ambiguous_capture".to_owned()));
}

#[test]
fn a_revisit_stands_for_the_latest_earlier_capture_of_its_payload() {
    let lines = [
        line(URL, "20190401000000", 200, "A", 1),
        line("https://x.example/", "20190402000000", 200, "A", 2),
        line(URL, "20190403000000", 200, "B", 3),
        revisit_line(TIME, 304, "A"),
        line(URL, "20190501000000", 200, "A", 5),
    ];
    assert_eq!(chosen(&lines, &[]), Err("status_304".to_owned()));
    assert_eq!(chosen(&lines, &[Fallback::Revisit]), Ok((2, Some(Fallback::Revisit))));
    // Some tools write the status of the original.
    let lines = [line(URL, "20190401000000", 200, "A", 1), revisit_line(TIME, 200, "A")];
    assert_eq!(chosen(&lines, &[]), Err("status_200".to_owned()));
    assert_eq!(chosen(&lines, &ALL), Ok((1, Some(Fallback::Revisit))));
    // One without a digest stands for nothing that can be found.
    let lines = [line(URL, "20190401000000", 200, "", 1), revisit_line(TIME, 304, "-")];
    assert_eq!(chosen(&lines, &ALL), Err("status_304".to_owned()));
}

#[test]
fn same_digest_is_the_nearest_capture_of_the_payload_of_an_unusable_line() {
    let lines = [
        line(URL, "20190418125734", 200, "A", 1),
        line(URL, TIME, 404, "A", 2),
        line(URL, "20190418125814", 200, "A", 3),
        line(URL, "20190418125756", 200, "B", 4),
        line("https://x.example/", "20190418125756", 200, "A", 5),
    ];
    // Twenty seconds either way: the earlier.
    assert_eq!(chosen(&lines, &ALL), Ok((1, Some(Fallback::SameDigest))));
    assert_eq!(chosen(&lines[1..], &ALL), Ok((3, Some(Fallback::SameDigest))));
    assert_eq!(chosen(&lines[1..], &ALL[..3]), Err("status_404".to_owned()));
    // Without an exact line there is no payload to compare with.
    assert_eq!(chosen(&lines[2..3], &ALL), Err("timestamp_not_in_index".to_owned()));
}
