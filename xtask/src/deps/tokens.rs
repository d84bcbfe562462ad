//! The tokens of a source file, flat: code without comments.
//!
//! A word in a comment is no code, a name in a test is no branch on it: the rules look at tokens,
//! with the items that only tests compile left out.

use std::str::FromStr;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// One token and the line it starts on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// What a string literal of any kind holds, escapes as they are written.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(w) if w == word)
    }

    pub(crate) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// The tokens of a source file. Comments, characters and lifetimes yield none.
///
/// # Errors
/// What is no Rust.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>> {
    let stream = TokenStream::from_str(source).map_err(|e| anyhow!("no Rust: {e}"))?;
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let token = |span: Span, kind| Token {
        line: span.start().line,
        kind,
    };
    let mut trees = stream.into_iter();
    while let Some(tree) = trees.next() {
        let span = tree.span();
        match tree {
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Parenthesis => ['(', ')'],
                    Delimiter::Bracket => ['[', ']'],
                    Delimiter::Brace | Delimiter::None => ['{', '}'],
                };
                tokens.push(token(group.span_open(), Kind::Mark(open)));
                flatten(group.stream(), tokens);
                tokens.push(token(group.span_close(), Kind::Mark(close)));
            }
            TokenTree::Ident(word) => tokens.push(token(span, Kind::Word(word.to_string()))),
            // A lifetime is this mark and its name.
            TokenTree::Punct(mark) if mark.as_char() == '\'' => drop(trees.next()),
            TokenTree::Punct(mark) => tokens.push(token(span, Kind::Mark(mark.as_char()))),
            TokenTree::Literal(literal) => {
                tokens.extend(kind_of(&literal.to_string()).map(|kind| token(span, kind)))
            }
        }
    }
}

/// What a literal is, as it is written: a string of any kind, a number, or a character, which is
/// nothing.
fn kind_of(written: &str) -> Option<Kind> {
    let inner = written.trim_start_matches(['b', 'c', 'r']);
    let bare = inner.trim_matches('#');
    match bare
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(text) => Some(Kind::Text(text.to_owned())),
        None if inner.starts_with('\'') => None,
        None => Some(Kind::Word(written.to_owned())),
    }
}

/// The tokens without the items under `#[cfg(test)]` and without the attributes of the command
/// line (`#[command(..)]`, which names the binary).
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_attribute(tokens, at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = after_group(tokens, at + 1);
        let words = |n: usize, word: &str| tokens.get(at + n).is_some_and(|t| t.is_word(word));
        if words(2, "cfg") && words(4, "test") && end == at + 7 {
            at = after_item(tokens, end);
        } else if words(2, "command") {
            at = end;
        } else {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
        }
    }
    kept
}

fn is_attribute(tokens: &[Token], at: usize) -> bool {
    tokens[at].is_mark('#') && tokens.get(at + 1).is_some_and(|t| t.is_mark('['))
}

/// The place behind the bracket that closes the one at `at`.
fn after_group(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place + 1;
        }
    }
    tokens.len()
}

/// The texts in the items called one of `names`, that is behind that name and before the item's
/// end.
pub(crate) fn texts_of(tokens: &[Token], names: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_item = at > 0 && tokens[at - 1].is_word("const");
        if !is_item || !names.iter().any(|name| token.is_word(name)) {
            continue;
        }
        let item = &tokens[at..after_item(tokens, at)];
        texts.extend(item.iter().filter_map(|token| match &token.kind {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        }));
    }
    texts
}

/// The place behind the item at `at`: its further attributes, then all up to `;` or its braces.
fn after_item(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        if is_attribute(tokens, at) {
            at = after_group(tokens, at + 1);
            continue;
        }
        match tokens[at].kind {
            Kind::Mark(';') => return at + 1,
            Kind::Mark('{') => return after_group(tokens, at),
            Kind::Mark('(' | '[') => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_texts_and_comments_characters_and_lifetimes_nothing() {
        let source = "a // b \"c\"\n/* d /* e */ */ \"f\ng\\\"\" r#\"h\"#\n'\\'' 'i' &'j str 1";
        let said = |token: Token| match token.kind {
            Kind::Word(word) => (token.line, word),
            Kind::Text(text) => (token.line, format!("text {text}")),
            Kind::Mark(mark) => (token.line, format!("mark {mark}")),
        };
        let said: Vec<_> = tokens(source)
            .expect("Rust")
            .into_iter()
            .map(said)
            .collect();
        let wanted = [
            (1, "a"),
            (2, "text f\ng\\\""),
            (3, "text h"),
            (4, "mark &"),
            (4, "str"),
            (4, "1"),
        ];
        assert_eq!(said, wanted.map(|(line, text)| (line, text.to_owned())));
        assert!(tokens("{").is_err());
    }

    #[test]
    fn items_under_cfg_test_are_left_out() {
        let source = r#"
            a(); #[cfg(test)] mod tests; b();
            #[cfg(test)] #[allow(x)] fn f(y: [u8; 2]) -> u8 { if z { "in" } } c();
            #[cfg(not(test))] fn d() {} #[command(name = "s3")] struct E;
        "#;
        let kept: Vec<String> = without_tests(&tokens(source).expect("Rust"))
            .into_iter()
            .filter_map(|token| match token.kind {
                Kind::Word(word) | Kind::Text(word) => Some(word),
                Kind::Mark(_) => None,
            })
            .collect();
        assert_eq!(kept.join(" "), "a b c cfg not test fn d struct E");
    }
}
