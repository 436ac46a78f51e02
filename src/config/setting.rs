//! One declaration a setting.
//!
//! `section!` turns a list of declarations into two things at once: a struct with one typed field a
//! setting, and the table [`Section`] from which parsing, help and reference are made. A setting
//! without a field, or a field without a setting, cannot be written down; a field whose type is not
//! what its kind parses to does not compile.

use super::kind::{Check, Kind};

/// One setting: what is known of it besides its type.
pub(crate) struct Setting {
    /// The last part of its name.
    pub(crate) key: &'static str,
    /// What it accepts.
    pub(crate) kind: &'static dyn Check,
    /// The default, as a user would write it.
    pub(crate) default: &'static str,
    /// When a change takes effect.
    pub(crate) change: Change,
    /// What it does, in sentences.
    pub(crate) doc: &'static str,
}

/// Settings with a common prefix.
pub(crate) struct Section {
    /// The prefix of their names; `<name>` stands for a name the user chooses.
    pub(crate) prefix: &'static str,
    /// What the section is about.
    pub(crate) doc: &'static str,
    /// The settings, in the order of the reference.
    pub(crate) settings: &'static [Setting],
}

impl Section {
    /// The full name of one of its settings.
    pub(crate) fn full_name(&self, setting: &Setting) -> String {
        full_name(self.prefix, setting.key)
    }
}

/// A setting's name below a prefix; some have none.
pub(crate) fn full_name(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

/// Declares a section; each line is
/// `field: Type = "default", kind, Restart | Live | Joining;` under its documentation.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        pub struct $Section:ident at $prefix:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $Type:ty = $default:literal, $kind:expr, $change:ident;
            )+
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $( $(#[doc = $doc])+ pub $field: $Type, )+
        }

        impl $Section {
            /// The declarations.
            pub(crate) const SECTION: Section = Section {
                prefix: $prefix,
                doc: concat!($($section_doc, "\n"),+),
                settings: &[ $(
                    Setting {
                        key: stringify!($field),
                        kind: &parses_to::<$Type, _>($kind),
                        default: $default,
                        change: Change::$change,
                        doc: concat!($($doc, "\n"),+),
                    },
                )+ ],
            };

            /// The typed section, from values that were checked when they were collected.
            pub(crate) fn read(values: &Values, prefix: &str) -> Self {
                Self {
                    $( $field: values.typed(prefix, stringify!($field), $default, &$kind), )+
                }
            }
        }

        impl Default for $Section {
            /// Every setting at its default.
            fn default() -> Self {
                Self::read(&Values::default(), $prefix)
            }
        }
    };
}
pub(crate) use section;

/// The same kind; that it parses to the type of its field is what the compiler sees here.
pub(crate) const fn parses_to<T, K: Kind<Out = T>>(kind: K) -> K {
    kind
}

/// When a change of a setting can take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// At the next start.
    Restart,
    /// While the broker runs, for everybody.
    Live,
    /// While the broker runs, for clients that connect from then on.
    Joining,
}

impl Change {
    /// Whether it takes no start.
    pub(crate) fn is_live(self) -> bool {
        self != Self::Restart
    }

    /// The word of the reference.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Restart => "start",
            Self::Live => "live",
            Self::Joining => "live, for new connections",
        }
    }
}
