//! Just enough of Rust's lexical structure to tell code from comments and strings.
//!
//! A word in a comment is no code, a name in a test is no branch on it: the rules look at tokens,
//! with the items that only tests compile left out.

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
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let characters: Vec<char> = source.chars().collect();
    let mut cursor = Cursor {
        characters: &characters,
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(next) = cursor.peek(0) {
        let line = cursor.line;
        let kind = match next {
            '/' if cursor.peek(1) == Some('/') => {
                cursor.skip_while(|c| c != '\n');
                continue;
            }
            '/' if cursor.peek(1) == Some('*') => {
                cursor.skip_block_comment();
                continue;
            }
            '"' => cursor.string(),
            '\'' => {
                cursor.skip_character_or_lifetime();
                continue;
            }
            c if c.is_alphanumeric() || c == '_' => match cursor.word() {
                word if matches!(word.as_str(), "b" | "c") && cursor.peek(0) == Some('"') => {
                    cursor.string()
                }
                word if matches!(word.as_str(), "r" | "br" | "cr") => {
                    cursor.raw_string().map_or(Kind::Word(word), Kind::Text)
                }
                word => Kind::Word(word),
            },
            c => {
                cursor.advance();
                if c.is_whitespace() {
                    continue;
                }
                Kind::Mark(c)
            }
        };
        tokens.push(Token { line, kind });
    }
    tokens
}

struct Cursor<'a> {
    characters: &'a [char],
    at: usize,
    line: usize,
}

impl Cursor<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn advance_by(&mut self, count: usize) {
        for _ in 0..count {
            self.advance();
        }
    }

    fn skip_while(&mut self, stays: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&stays) {
            self.advance();
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        self.characters[start..self.at].iter().collect()
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.advance();
                    continue;
                }
            }
            self.advance();
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) -> Kind {
        self.advance();
        let mut text = String::new();
        while let Some(c) = self.advance() {
            match c {
                '"' => break,
                '\\' => {
                    text.push(c);
                    text.extend(self.advance());
                }
                c => text.push(c),
            }
        }
        Kind::Text(text)
    }

    /// After `r`: `"..."` or `#"..."#` with any number of hashes; `None` for a raw identifier.
    fn raw_string(&mut self) -> Option<String> {
        let hashes = (0..)
            .take_while(|&ahead| self.peek(ahead) == Some('#'))
            .count();
        if self.peek(hashes) != Some('"') {
            return None;
        }
        self.advance_by(hashes + 1);
        let mut text = String::new();
        while let Some(c) = self.advance() {
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.advance_by(hashes);
                break;
            }
            text.push(c);
        }
        Some(text)
    }

    /// `'x'` and `'\n'` are characters, `'a` is a lifetime.
    fn skip_character_or_lifetime(&mut self) {
        self.advance();
        if self.peek(0) == Some('\\') {
            self.advance();
            self.advance();
            self.skip_while(|c| c != '\'');
            self.advance();
        } else if self.peek(1) == Some('\'') {
            self.advance();
            self.advance();
        }
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

    fn kinds(source: &str) -> Vec<Kind> {
        tokens(source).into_iter().map(|token| token.kind).collect()
    }

    fn word(word: &str) -> Kind {
        Kind::Word(word.into())
    }

    fn text(text: &str) -> Kind {
        Kind::Text(text.into())
    }

    #[test]
    fn comments_yield_nothing_and_nest() {
        assert_eq!(
            kinds("a // unsafe \"x\"\n/* b /* c */ d */ e"),
            [word("a"), word("e")]
        );
    }

    #[test]
    fn every_kind_of_string_is_one_token() {
        assert_eq!(
            kinds(r#""a\"b" b"c" r"d\" "e""#),
            ["a\\\"b", "c", "d\\", "e"].map(text)
        );
        assert_eq!(
            kinds(r###"r#"f"g"# br##"h"#"##"###),
            ["f\"g", "h\"#"].map(text)
        );
        assert_eq!(kinds("r#type"), [word("r"), Kind::Mark('#'), word("type")]);
    }

    #[test]
    fn characters_and_lifetimes_are_not_strings() {
        let source = r#"'"' '\'' '\u{1F}' 'x' &'a str "s""#;
        assert_eq!(
            kinds(source),
            [Kind::Mark('&'), word("a"), word("str"), text("s")]
        );
    }

    #[test]
    fn lines_are_counted_from_one_through_strings() {
        let lines: Vec<usize> = tokens("a\n\"b\nc\" d\n/*\n*/e")
            .iter()
            .map(|t| t.line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 5]);
    }

    #[test]
    fn items_under_cfg_test_are_left_out() {
        let source = r#"
            a(); #[cfg(test)] mod tests; b();
            #[cfg(test)] #[allow(x)] fn f(y: [u8; 2]) -> u8 { if z { "in" } } c();
            #[cfg(not(test))] fn d() {} #[command(name = "s3")] struct E;
        "#;
        let kept: Vec<String> = without_tests(&tokens(source))
            .into_iter()
            .filter_map(|token| match token.kind {
                Kind::Word(word) | Kind::Text(word) => Some(word),
                Kind::Mark(_) => None,
            })
            .collect();
        assert_eq!(kept.join(" "), "a b c cfg not test fn d struct E");
    }
}
