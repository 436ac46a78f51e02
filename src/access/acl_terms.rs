//! Erlang terms as they stand in a file: `{deny, all, subscribe, ["$SYS/#", {eq, "#"}]}.`
//!
//! Read are atoms, strings (with escapes, joined when they follow one another), binaries of text,
//! integers, tuples and lists; `%` begins a comment. That is all of the notation that rules use; for
//! anything else the error says where it stands.

use std::fmt;
use std::str::Chars;

use crate::base::limits::{ACL_TERM_DEPTH_MAX, ACL_TERMS_MAX};

/// Where something stands in a file, both from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// What is wrong with a file of rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclError {
    /// Where.
    pub place: Place,
    /// What, as the end of a sentence.
    pub what: String,
}

impl AclError {
    /// Something is wrong at a place.
    pub fn at(place: Place, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { place, what }
    }
}

impl fmt::Display for AclError {
    /// Follows the name of the file: `line 7: ... (column 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "line {line}: {} (column {column})", self.what)
    }
}

impl std::error::Error for AclError {}

/// A term with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// A kind of term.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `allow`, `'and'`.
    Atom(String),
    /// `"text"`, `<<"text">>`.
    Text(String),
    /// `1`.
    Integer(i64),
    /// `{a, b}`.
    Tuple(Vec<Term>),
    /// `[a, b]`.
    List(Vec<Term>),
}

/// The terms of a file, each of which ends with a full stop.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Vec<Term>, AclError> {
    let mut parser = Parser {
        tokens: Tokens::new(text),
        terms: 0,
    };
    let mut terms = Vec::new();
    while let Some((place, token)) = parser.tokens.next()? {
        terms.push(parser.term(place, token, 0)?);
        match parser.tokens.next()? {
            Some((_, Token::Stop)) => {}
            Some((place, token)) => {
                let what = format!("{token} stands where the `.` after a rule is expected");
                return Err(AclError::at(place, what));
            }
            None => {
                let what = "the file ends where the `.` after a rule is expected";
                return Err(AclError::at(parser.tokens.place, what));
            }
        }
    }
    Ok(terms)
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    terms: usize,
}

impl Parser<'_> {
    fn term(&mut self, place: Place, token: Token, depth: usize) -> Result<Term, AclError> {
        self.terms += 1;
        if self.terms > ACL_TERMS_MAX {
            let what = format!("the file has more than {ACL_TERMS_MAX} terms");
            return Err(AclError::at(place, what));
        }
        if depth > ACL_TERM_DEPTH_MAX {
            let what = format!("terms are nested more than {ACL_TERM_DEPTH_MAX} deep");
            return Err(AclError::at(place, what));
        }
        let kind = match token {
            Token::Atom(name) => Kind::Atom(name),
            Token::Text(text) => Kind::Text(self.joined(text)?),
            Token::Integer(number) => Kind::Integer(number),
            Token::Open('{') => Kind::Tuple(self.terms(place, '}', depth)?),
            Token::Open('[') => Kind::List(self.terms(place, ']', depth)?),
            Token::Open(_) => {
                let text = self.expect_text()?;
                let text = self.joined(text)?;
                self.end_of_binary()?;
                Kind::Text(text)
            }
            other => {
                let what = format!("{other} stands where a term is expected");
                return Err(AclError::at(place, what));
            }
        };
        Ok(Term { place, kind })
    }

    /// What stands up to the closing bracket.
    fn terms(&mut self, begin: Place, close: char, depth: usize) -> Result<Vec<Term>, AclError> {
        let mut terms = Vec::new();
        let open = |place| {
            let (line, column) = (begin.line, begin.column);
            let what =
                format!("`{close}` is missing for what begins in line {line}, column {column}");
            AclError::at(place, what)
        };
        loop {
            let Some((place, token)) = self.tokens.next()? else {
                return Err(open(self.tokens.place));
            };
            if terms.is_empty() && token == Token::Close(close) {
                return Ok(terms);
            }
            terms.push(self.term(place, token, depth + 1)?);
            match self.tokens.next()? {
                Some((_, Token::Comma)) => {}
                Some((_, Token::Close(closes))) if closes == close => return Ok(terms),
                Some((place, Token::Stop)) => return Err(open(place)),
                Some((place, token)) => {
                    let what = format!("{token} stands where `,` or `{close}` is expected");
                    return Err(AclError::at(place, what));
                }
                None => return Err(open(self.tokens.place)),
            }
        }
    }

    /// A string with those that follow it.
    fn joined(&mut self, mut text: String) -> Result<String, AclError> {
        loop {
            let before = self.tokens.clone();
            match self.tokens.next() {
                Ok(Some((_, Token::Text(more)))) => text.push_str(&more),
                _ => {
                    self.tokens = before;
                    return Ok(text);
                }
            }
        }
    }

    fn expect_text(&mut self) -> Result<String, AclError> {
        match self.tokens.next()? {
            Some((_, Token::Text(text))) => Ok(text),
            Some((place, token)) => {
                let what = format!("{token} stands where the text of a binary is expected");
                Err(AclError::at(place, what))
            }
            None => Err(AclError::at(self.tokens.place, "the file ends in a binary")),
        }
    }

    /// `>>`, or `/utf8>>`.
    fn end_of_binary(&mut self) -> Result<(), AclError> {
        let mut next = self.tokens.next()?;
        if matches!(next, Some((_, Token::Slash))) {
            match self.tokens.next()? {
                Some((_, Token::Atom(name))) if name == "utf8" => next = self.tokens.next()?,
                other => next = other,
            }
        }
        match next {
            Some((_, Token::Close('>'))) => Ok(()),
            Some((place, token)) => {
                let what = format!("{token} stands where `>>` is expected");
                Err(AclError::at(place, what))
            }
            None => Err(AclError::at(self.tokens.place, "the file ends in a binary")),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Atom(String),
    Text(String),
    Integer(i64),
    /// `{`, `[`, and `<` for `<<`.
    Open(char),
    /// `}`, `]`, and `>` for `>>`.
    Close(char),
    Comma,
    Slash,
    /// The full stop after a term.
    Stop,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atom(name) => write!(f, "`{name}`"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "`{number}`"),
            Self::Open('<') => f.write_str("`<<`"),
            Self::Close('>') => f.write_str("`>>`"),
            Self::Open(c) | Self::Close(c) => write!(f, "`{c}`"),
            Self::Comma => f.write_str("`,`"),
            Self::Slash => f.write_str("`/`"),
            Self::Stop => f.write_str("`.`"),
        }
    }
}

#[derive(Clone)]
struct Tokens<'a> {
    rest: Chars<'a>,
    /// Where `rest` begins.
    place: Place,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        let mut rest = text.chars();
        if text.starts_with('\u{FEFF}') {
            rest.next();
        }
        Self {
            rest,
            place: Place { line: 1, column: 1 },
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.place.line += 1;
            self.place.column = 1;
        } else {
            self.place.column += 1;
        }
        Some(c)
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            if c == '%' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.take();
                }
            } else if !c.is_whitespace() {
                return;
            } else {
                self.take();
            }
        }
    }

    fn next(&mut self) -> Result<Option<(Place, Token)>, AclError> {
        self.skip_blank();
        let place = self.place;
        let Some(c) = self.take() else {
            return Ok(None);
        };
        let token = match c {
            '{' | '[' => Token::Open(c),
            '}' | ']' => Token::Close(c),
            '<' if self.peek() == Some('<') => {
                self.take();
                Token::Open('<')
            }
            '>' if self.peek() == Some('>') => {
                self.take();
                Token::Close('>')
            }
            ',' => Token::Comma,
            '/' => Token::Slash,
            '.' => Token::Stop,
            '"' => Token::Text(self.quoted(place, '"')?),
            '\'' => Token::Atom(self.quoted(place, '\'')?),
            '-' | '0'..='9' => Token::Integer(self.integer(place, c)?),
            'a'..='z' => Token::Atom(self.word(c)),
            'A'..='Z' | '_' => {
                let word = self.word(c);
                let what = format!("`{word}` is a variable; text stands in quotes");
                return Err(AclError::at(place, what));
            }
            other => {
                let what = format!("{other:?} is not expected here");
                return Err(AclError::at(place, what));
            }
        };
        Ok(Some((place, token)))
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.peek() {
            if !c.is_ascii_alphanumeric() && c != '_' && c != '@' {
                break;
            }
            word.push(c);
            self.take();
        }
        word
    }

    fn integer(&mut self, place: Place, first: char) -> Result<i64, AclError> {
        let mut digits = String::from(first);
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            digits.push(c);
            self.take();
        }
        digits
            .parse()
            .map_err(|_| AclError::at(place, format!("`{digits}` is no integer")))
    }

    /// Text up to the closing quote.
    fn quoted(&mut self, begin: Place, quote: char) -> Result<String, AclError> {
        let mut text = String::new();
        loop {
            let place = self.place;
            match self.take() {
                Some(c) if c == quote => return Ok(text),
                Some('\\') => text.push(self.escaped(place)?),
                Some(c) => text.push(c),
                None => {
                    let what = format!("the closing {quote} is missing");
                    return Err(AclError::at(begin, what));
                }
            }
        }
    }

    /// What stands for one character behind a backslash.
    fn escaped(&mut self, place: Place) -> Result<char, AclError> {
        let wrong = || AclError::at(place, "this escape does not stand for a character");
        let c = self.take().ok_or_else(wrong)?;
        let code = match c {
            'b' => 8,
            'd' => 127,
            'e' => 27,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            's' => 32,
            't' => 9,
            'v' => 11,
            '^' => self.take().ok_or_else(wrong)? as u32 % 32,
            'x' if self.peek() == Some('{') => {
                self.take();
                let code = self.digits(16, 8);
                if self.take() != Some('}') {
                    return Err(wrong());
                }
                code.ok_or_else(wrong)?
            }
            'x' => self.digits(16, 2).ok_or_else(wrong)?,
            '0'..='7' => {
                let first = c.to_digit(8).unwrap_or(0);
                let mut code = first;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    self.take();
                    code = code * 8 + digit;
                }
                code
            }
            other => other as u32,
        };
        char::from_u32(code).ok_or_else(wrong)
    }

    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let mut code = None;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else {
                break;
            };
            self.take();
            code = Some(u32::checked_add(
                code.unwrap_or(0_u32).checked_mul(radix)?,
                digit,
            )?);
        }
        code
    }
}
