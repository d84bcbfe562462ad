//! The frame of a page: headings, tables, figures, folded texts.

use super::Drawn;
use super::pictures::InBoth;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3_metrics::plot::Picture;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// `text` with what HTML would read as markup written out.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// `data:` of bytes of a type.
pub(super) fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// A page under way, and the pictures on it.
pub(super) struct Html(String, Vec<Drawn>);

/// The figures of one row.
pub(super) struct Figures<'a>(String, &'a mut Vec<Drawn>);

impl Figures<'_> {
    /// A picture with its caption, or the sentence why there is none.
    pub(super) fn push(&mut self, caption: &str, picture: InBoth) {
        let plain = caption;
        let caption = escape(caption);
        let inner = match picture {
            Ok(pictures) => {
                let uri = |of: &Picture| data_uri("image/svg+xml", of.to_svg().as_bytes());
                let [light, dark] = pictures.each_ref().map(uri);
                self.1.push(Drawn {
                    caption: plain.to_owned(),
                    pictures,
                });
                format!(
                    "<picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"{dark}\">\
                     <img alt=\"{caption}\" src=\"{light}\"></picture>",
                )
            }
            Err(why) => format!("<p class=\"note\">No picture: {}.</p>", escape(&why)),
        };
        let _ = writeln!(
            self.0,
            "<figure>{inner}<figcaption>{caption}</figcaption></figure>"
        );
    }

    /// A small bitmap with its caption.
    pub(super) fn bitmap(&mut self, caption: &str, png: &[u8]) {
        let (caption, uri) = (escape(caption), data_uri("image/png", png));
        let _ = writeln!(
            self.0,
            "<figure class=\"bitmap\"><img alt=\"{caption}\" src=\"{uri}\"><figcaption>{caption}</figcaption></figure>"
        );
    }
}

impl Html {
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        let head = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\">\
             <title>{title}</title>\n<style>\n{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n"
        );
        Self(head, Vec::new())
    }

    pub(super) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escape(text));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        let _ = writeln!(self.0, "<h3>{}</h3>", escape(text));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escape(text));
    }

    /// What is not there.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p class=\"note\">{}.</p>", escape(text));
    }

    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.0.push_str("<dl>");
        for (name, value) in facts {
            let (name, value) = (escape(name), escape(value));
            let _ = write!(self.0, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        self.0.push_str("</dl>\n");
    }

    /// The first column is text, the others are numbers; the last row may be their sum.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>, has_sum: bool) {
        let class = if has_sum { " class=\"sum\"" } else { "" };
        let _ = write!(self.0, "<div class=\"wide\"><table{class}><thead><tr>");
        for cell in header {
            let _ = write!(self.0, "<th>{}</th>", escape(cell));
        }
        self.0.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.0.push_str("<tr>");
            for cell in row {
                let _ = write!(self.0, "<td>{}</td>", escape(&cell));
            }
            self.0.push_str("</tr>\n");
        }
        self.0.push_str("</tbody></table></div>\n");
    }

    pub(super) fn figures(&mut self, fill: impl FnOnce(&mut Figures)) {
        let mut figures = Figures(String::new(), &mut self.1);
        fill(&mut figures);
        let figures = figures.0;
        let _ = writeln!(self.0, "<div class=\"figures\">\n{figures}</div>");
    }

    /// A text that opens on a click.
    pub(super) fn details(&mut self, name: &str, text: &str) {
        let (name, text) = (escape(name), escape(text));
        let _ = writeln!(
            self.0,
            "<details><summary>{name}</summary><pre>{text}</pre></details>"
        );
    }

    pub(super) fn finish(mut self) -> (String, Vec<Drawn>) {
        self.0.push_str("</main></body></html>\n");
        (self.0, self.1)
    }
}
