//! The frame of a page: headings, tables, figures, folded texts.

use super::plots::InBoth;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3_metrics::plot::Plot;
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

/// A plot of a page.
#[derive(Debug)]
pub struct Drawn {
    /// Of several runs, the one that it is of; else empty.
    pub section: String,
    /// What stands below it.
    pub caption: String,
    /// On light and on dark.
    pub plots: [Plot; 2],
}

/// A page under way.
pub(super) struct Html {
    text: String,
    plots: Vec<Drawn>,
    /// Its last heading; empty before the first.
    section: String,
}

/// The figures of one row.
pub(super) struct Figures<'a> {
    text: String,
    plots: &'a mut Vec<Drawn>,
    section: &'a str,
}

impl Figures<'_> {
    /// A plot with its caption, or the sentence why there is none.
    pub(super) fn push(&mut self, caption: &str, plot: InBoth) {
        let plain = caption;
        let caption = escape(caption);
        let inner = match plot {
            Ok(plots) => {
                let uri = |of: &Plot| data_uri("image/svg+xml", of.to_svg().as_bytes());
                let [light, dark] = plots.each_ref().map(uri);
                self.plots.push(Drawn {
                    section: self.section.to_owned(),
                    caption: plain.to_owned(),
                    plots,
                });
                format!(
                    "<picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"{dark}\">\
                     <img alt=\"{caption}\" src=\"{light}\"></picture>",
                )
            }
            Err(why) => format!("<p class=\"note\">No picture: {}.</p>", escape(&why)),
        };
        let _ = writeln!(
            self.text,
            "<figure>{inner}<figcaption>{caption}</figcaption></figure>"
        );
    }

    /// A small bitmap with its caption.
    pub(super) fn bitmap(&mut self, caption: &str, png: &[u8]) {
        let (caption, uri) = (escape(caption), data_uri("image/png", png));
        let _ = writeln!(
            self.text,
            "<figure class=\"bitmap\"><img alt=\"{caption}\" \
             src=\"{uri}\"><figcaption>{caption}</figcaption></figure>"
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
             <title>{title}</title>\n<style>\n{STYLE}</style></head><body><main>\n\
             <h1>{title}</h1>\n"
        );
        Self {
            text: head,
            plots: Vec::new(),
            section: String::new(),
        }
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.section = text.to_owned();
        let _ = writeln!(self.text, "<h2>{}</h2>", escape(text));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        let _ = writeln!(self.text, "<h3>{}</h3>", escape(text));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p>{}</p>", escape(text));
    }

    /// What is not there.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"note\">{}.</p>", escape(text));
    }

    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.text.push_str("<dl>");
        for (name, value) in facts {
            let (name, value) = (escape(name), escape(value));
            let _ = write!(self.text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        self.text.push_str("</dl>\n");
    }

    /// The first column is text, the others are numbers; the last row may be their sum.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>, has_sum: bool) {
        let class = if has_sum { " class=\"sum\"" } else { "" };
        let _ = write!(self.text, "<div class=\"wide\"><table{class}><thead><tr>");
        for cell in header {
            let _ = write!(self.text, "<th>{}</th>", escape(cell));
        }
        self.text.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for cell in row {
                let _ = write!(self.text, "<td>{}</td>", escape(&cell));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</tbody></table></div>\n");
    }

    pub(super) fn figures(&mut self, fill: impl FnOnce(&mut Figures)) {
        let mut figures = Figures {
            text: String::new(),
            plots: &mut self.plots,
            section: &self.section,
        };
        fill(&mut figures);
        let figures = figures.text;
        let _ = writeln!(self.text, "<div class=\"figures\">\n{figures}</div>");
    }

    /// A text that opens on a click.
    pub(super) fn details(&mut self, name: &str, text: &str) {
        let (name, text) = (escape(name), escape(text));
        let _ = writeln!(
            self.text,
            "<details><summary>{name}</summary><pre>{text}</pre></details>"
        );
    }

    pub(super) fn finish(mut self) -> (String, Vec<Drawn>) {
        self.text.push_str("</main></body></html>\n");
        (self.text, self.plots)
    }
}
