//! Topics with places for what is known of a client: `${clientid}`, `${username}`, `${host}`,
//! `${port}`, the older `%c` and `%u`, and `$1` to `$9` for the groups of a regular expression.

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The client id.
    ClientId,
    /// The user name.
    Username,
    /// The client's IP address.
    Host,
    /// The client's port.
    Port,
    /// A group of the regular expression, from 1.
    Group(usize),
}

/// A topic with places to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What a template may hold beside `${clientid}`, `${username}`, `%c` and `%u`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// Nothing else.
    Client,
    /// `${host}` and `${port}`.
    Peer,
    /// `$1` to `$9`.
    Groups,
}

impl Places {
    /// The place that begins `rest`, with the bytes it takes.
    fn find(self, rest: &str) -> Option<(Piece, usize)> {
        let named = [
            ("${clientid}", Piece::ClientId, true),
            ("${username}", Piece::Username, true),
            ("%c", Piece::ClientId, true),
            ("%u", Piece::Username, true),
            ("${host}", Piece::Host, self == Self::Peer),
            ("${port}", Piece::Port, self == Self::Peer),
        ];
        let mut named = named.into_iter();
        if let Some((text, piece, _)) = named.find(|(text, _, ok)| *ok && rest.starts_with(text)) {
            return Some((piece, text.len()));
        }
        let digit = rest.strip_prefix('$')?.bytes().next()?;
        let group = usize::from(digit.checked_sub(b'0')?);
        let fits = self == Self::Groups && (1..=9).contains(&group);
        fits.then_some((Piece::Group(group), 2))
    }
}

impl Template {
    /// Reads a template; says what is wrong with a `${...}` that means nothing here.
    pub(crate) fn parse(text: &str, places: Places) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some((piece, len)) = places.find(rest) {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
                rest = &rest[len..];
                continue;
            }
            if rest.starts_with("${") {
                let name: String = rest.chars().take_while(|c| *c != '}').collect();
                return Err(format!("`{name}}}` stands for nothing here"));
            }
            plain.push(next);
            rest = &rest[next.len_utf8()..];
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The greatest group it names; 0 = none.
    pub fn greatest_group(&self) -> usize {
        let groups = self.0.iter().map(|piece| match piece {
            Piece::Group(number) => *number,
            _ => 0,
        });
        groups.max().unwrap_or(0)
    }

    /// Whether it holds a piece.
    pub fn names(&self, wanted: &Piece) -> bool {
        self.0.contains(wanted)
    }

    /// Appends the text with every place filled in by `value`; false, with `out` half written, if a
    /// value is absent.
    pub fn fill<'v>(
        &'v self,
        out: &mut String,
        mut value: impl FnMut(&'v Piece) -> Option<&'v str>,
    ) -> bool {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                place => match value(place) {
                    Some(value) => out.push_str(value),
                    None => return false,
                },
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, places: Places) -> Option<String> {
        let template = Template::parse(text, places).unwrap();
        let mut out = String::new();
        let fits = template.fill(&mut out, |piece| match piece {
            Piece::ClientId => Some("cid"),
            Piece::Host => Some("::1"),
            Piece::Port => Some("7"),
            Piece::Group(2) => Some("two"),
            _ => None,
        });
        fits.then_some(out)
    }

    #[test]
    fn places_are_filled_and_the_rest_stays() {
        let groups = Places::Groups;
        assert_eq!(filled("a/$2/b$", groups).as_deref(), Some("a/two/b$"));
        assert_eq!(filled("$SYS/%c", groups).as_deref(), Some("$SYS/cid"));
        assert_eq!(filled("$2", Places::Client).as_deref(), Some("$2"));
        let peer = filled("${host}:${port}/${clientid}", Places::Peer);
        assert_eq!(peer.as_deref(), Some("::1:7/cid"));
        assert_eq!(filled("x/%u", Places::Client), None);
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        let said = Template::parse("a/${host}", Places::Client).unwrap_err();
        assert_eq!(said, "`${host}` stands for nothing here");
        assert!(Template::parse("a/${nonsense", Places::Peer).is_err());
        assert_eq!(
            Template::parse("$1$3", Places::Groups)
                .unwrap()
                .greatest_group(),
            3
        );
    }
}
