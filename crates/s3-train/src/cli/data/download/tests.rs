//! Against a server on the loopback interface that misbehaves as told.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;

const CONTENT: &[u8] = b"The quick brown fox jumps over the lazy dog";
const MD5: &str = "9e107d9d372bb6826bd81d3542a419d6";

/// What the server does with one connection.
#[derive(Clone, Copy)]
enum Answer {
    /// The whole content, whatever was asked for.
    Whole(&'static [u8]),
    /// Announces the whole content, sends so many bytes of it and hangs up.
    CutAfter(usize),
    /// What was asked for: the whole content, or the range as 206, or 416.
    Ranges,
    /// A status and no body.
    Status(u16),
    /// Hangs up at once.
    HangUp,
}

/// Answers one connection after another; yields the `Range` header of each request.
fn serve(answers: Vec<Answer>) -> (String, Receiver<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/file", listener.local_addr().expect("an address"));
    let (sender, ranges) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().expect("a connection");
            sender.send(respond(stream, answer)).ok();
        }
    });
    (address, ranges)
}

fn respond(mut stream: TcpStream, answer: Answer) -> Option<String> {
    let reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut range = None;
    for line in reader
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = Some(value.to_owned());
        }
    }
    let asked = || range.as_ref()?.strip_suffix('-')?.parse::<usize>().ok();
    let all = CONTENT.len();
    let (head, body) = match answer {
        Answer::HangUp => return range,
        Answer::Whole(content) => ("200 OK".to_owned(), content),
        Answer::CutAfter(count) => ("200 OK".to_owned(), &CONTENT[..count]),
        Answer::Status(code) => (format!("{code} No"), &b""[..]),
        Answer::Ranges => match asked() {
            None => ("200 OK".to_owned(), CONTENT),
            Some(start) if start >= all => ("416 No".to_owned(), &b""[..]),
            Some(start) => {
                let head = format!(
                    "206 Partial\r\nContent-Range: bytes {start}-{}/{all}",
                    all - 1
                );
                (head, &CONTENT[start..])
            }
        },
    };
    let length = if let Answer::CutAfter(_) = answer {
        all
    } else {
        body.len()
    };
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .ok();
    range
}

/// A client that never asks a proxy for the loopback interface.
fn direct() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}

fn download(sources: &[String], to: &Path) -> Result<()> {
    fetch(&direct(), sources, MD5, to)
}

fn target() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("new").join("file.gz");
    (folder, to)
}

fn assert_whole(to: &Path) {
    assert_eq!(fs::read(to).expect("the file"), CONTENT);
    let there = fs::read_dir(to.parent().expect("a folder"))
        .expect("lists")
        .count();
    assert_eq!(there, 1, "no part left over");
}

#[test]
fn a_whole_file_arrives_and_no_range_is_asked_for() {
    let (_folder, to) = target();
    let (address, ranges) = serve(vec![Answer::Ranges]);
    download(&[address], &to).expect("downloads");
    assert_whole(&to);
    assert_eq!(ranges.recv().expect("one request"), None);
}

#[test]
fn a_cut_connection_is_resumed_where_it_ended() {
    let (_folder, to) = target();
    let (address, ranges) = serve(vec![Answer::CutAfter(10), Answer::HangUp, Answer::Ranges]);
    download(&[address], &to).expect("downloads");
    assert_whole(&to);
    let ranges: Vec<_> = ranges.iter().collect();
    assert_eq!(ranges, [None, Some("10-".into()), Some("10-".into())]);
}

#[test]
fn a_part_of_an_earlier_call_is_resumed() {
    let (_folder, to) = target();
    let (address, _ranges) = serve(vec![Answer::CutAfter(7), Answer::HangUp, Answer::HangUp]);
    let error = download(&[address], &to)
        .expect_err("three tries")
        .to_string();
    assert!(
        error.starts_with("cannot download file.gz: http://127.0.0.1"),
        "{error}"
    );
    assert!(!error.contains('\n') && !to.exists());

    let (address, ranges) = serve(vec![Answer::Ranges]);
    download(&[address], &to).expect("downloads the rest");
    assert_whole(&to);
    assert_eq!(ranges.recv().expect("one request"), Some("7-".into()));
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (_folder, to) = target();
    let (address, _ranges) = serve(vec![Answer::CutAfter(30), Answer::Whole(CONTENT)]);
    download(&[address], &to).expect("downloads");
    assert_whole(&to);
}

#[test]
fn a_part_of_another_file_is_thrown_away() {
    for left in [&b"something else"[..], &[b'x'; 100]] {
        let (_folder, to) = target();
        fs::create_dir_all(to.parent().expect("a folder")).expect("makes it");
        fs::write(to.with_file_name("file.gz.part"), left).expect("writes");
        let (address, ranges) = serve(vec![Answer::Ranges, Answer::Ranges]);
        download(&[address], &to).expect("downloads");
        assert_whole(&to);
        let ranges: Vec<_> = ranges.iter().collect();
        assert_eq!(ranges, [Some(format!("{}-", left.len())), None]);
    }
}

#[test]
fn a_wrong_file_never_arrives() {
    let (_folder, to) = target();
    let (address, _ranges) = serve(vec![Answer::Whole(b"<html>Sign in</html>"); 3]);
    let error = download(&[address], &to).expect_err("wrong").to_string();
    assert!(error.ends_with(&format!("expected {MD5}")), "{error}");
    assert_eq!(
        fs::read_dir(to.parent().expect("a folder"))
            .expect("lists")
            .count(),
        0
    );
}

#[test]
fn the_next_source_is_asked_where_one_has_nothing() {
    let (_folder, to) = target();
    let (first, _ranges) = serve(vec![Answer::Status(404)]);
    let (second, _ranges) = serve(vec![Answer::Ranges]);
    download(&[first, second], &to).expect("downloads");
    assert_whole(&to);
}

#[test]
fn without_a_network_the_error_is_one_line_for_each_source() {
    let (_folder, to) = target();
    // A port that was free a moment ago: nobody listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let refused = format!("http://127.0.0.1:{port}/file");
    let unknown = "http://host.invalid/file".to_owned();
    let error = format!(
        "{:#}",
        download(&[refused.clone(), unknown.clone()], &to).expect_err("no")
    );
    assert!(
        error.contains(&refused) && error.contains(&unknown),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
    assert_eq!(
        fs::read_dir(to.parent().expect("a folder"))
            .expect("lists")
            .count(),
        0
    );
}

#[test]
fn a_server_error_is_tried_again() {
    let (_folder, to) = target();
    let (address, _ranges) = serve(vec![Answer::Status(503), Answer::Ranges]);
    download(&[address], &to).expect("downloads");
    assert_whole(&to);
}

#[test]
fn the_mirror_comes_before_the_known_sources() {
    let found = sources(Some("http://here/x/"), &["https://there"], "f.gz");
    assert_eq!(found, ["http://here/x/f.gz", "https://there/f.gz"]);
    assert_eq!(
        sources(None, &["https://there/"], "f.gz"),
        ["https://there/f.gz"]
    );
}
