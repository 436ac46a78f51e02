//! What each kind accepts, and what it says of the rest.

use super::*;

fn bare(text: &str) -> Raw {
    Raw::Bare(text.to_owned())
}

fn quoted(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

#[test]
fn flags_are_words_or_toml_booleans() {
    assert_eq!(Flag.parse(&bare("true")), Ok(true));
    assert_eq!(Flag.parse(&Raw::Flag(false)), Ok(false));
    assert_eq!(
        Flag.parse(&quoted("true")),
        Err("\"true\" is neither true nor false".to_owned())
    );
    assert!(Flag.parse(&bare("yes")).is_err());
}

#[test]
fn integers_hold_their_range() {
    let kind = integer::<u16>(1, 65535);
    assert_eq!(kind.parse(&bare("65535")), Ok(65535));
    assert_eq!(kind.parse(&Raw::Integer(1)), Ok(1));
    assert_eq!(
        kind.parse(&Raw::Integer(0)),
        Err("0 is not a whole number from 1 to 65535".to_owned())
    );
    assert!(kind.parse(&Raw::Integer(-1)).is_err());
    assert!(kind.parse(&quoted("5")).is_err());
    assert!(kind.parse(&Raw::Float(5.0)).is_err());
}

#[test]
fn bytes_hold_their_range() {
    let kind = bytes::<u32>(64, 1 << 20);
    assert_eq!(kind.parse(&quoted("1MB")), Ok(1 << 20));
    assert_eq!(kind.parse(&Raw::Integer(64)), Ok(64));
    assert_eq!(
        kind.parse(&bare("2MB")),
        Err("\"2MB\" is out of range, which is 64B to 1MB".to_owned())
    );
    assert_eq!(
        kind.parse(&bare("big")),
        Err("\"big\" is not a size such as 256KB or 1MB".to_owned())
    );
}

#[test]
fn spans_hold_their_range() {
    let kind = span(Duration::from_secs(1), Duration::from_secs(3600));
    assert_eq!(kind.parse(&bare("1h")), Ok(Duration::from_secs(3600)));
    assert_eq!(
        kind.parse(&quoted("10ms")),
        Err("\"10ms\" is out of range, which is 1s to 1h".to_owned())
    );
    assert!(kind.parse(&Raw::Integer(15)).is_err());
}

#[test]
fn seconds_are_whole_and_fit_two_bytes() {
    assert_eq!(Seconds.parse(&Raw::Integer(60)), Ok(60));
    assert_eq!(Seconds.parse(&bare("5m")), Ok(300));
    for wrong in ["0", "1500ms", "65536", "19h"] {
        assert!(Seconds.parse(&bare(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn decimals_refuse_what_is_no_number() {
    let kind = decimal(1.0, 10.0);
    assert_eq!(kind.parse(&Raw::Integer(2)), Ok(2.0));
    assert_eq!(kind.parse(&bare("1.5")), Ok(1.5));
    for wrong in ["nan", "inf", "0.5", "x"] {
        assert!(kind.parse(&bare(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn text_is_short_and_printable() {
    let kind = text(4);
    assert_eq!(kind.parse(&bare("a@b")), Ok("a@b".to_owned()));
    for wrong in ["", "abcde", "a\nb"] {
        assert!(kind.parse(&bare(wrong)).is_err(), "{wrong:?}");
    }
    assert!(kind.parse(&Raw::Integer(5)).is_err());
}

#[test]
fn choices_name_the_words() {
    let kind = choice(&[("text", 1), ("json", 2)]);
    assert_eq!(kind.parse(&quoted("json")), Ok(2));
    assert_eq!(
        kind.parse(&bare("xml")),
        Err("\"xml\" is none of text, json".to_owned())
    );
}

#[test]
fn a_word_may_stand_for_none() {
    let kind = unless(&["infinity", "0"], integer::<u32>(1, 9));
    assert_eq!(kind.parse(&quoted("infinity")), Ok(None));
    assert_eq!(kind.parse(&Raw::Integer(0)), Ok(None));
    assert_eq!(kind.parse(&bare("9")), Ok(Some(9)));
    assert_eq!(
        kind.parse(&bare("ten")),
        Err("\"ten\" is not a whole number from 1 to 9, nor `infinity` or `0`".to_owned())
    );
}
