//! Bans: kept here, and told to the cores, which look at them when a client comes.

use crate::control::clock;
use crate::control::context::Context;
use crate::control::state::{Ban, BanKind, StateError};

/// What stands between kind and who in the name of a record; no kind has it.
const BETWEEN: char = '/';

/// The name of a ban's record.
fn name(kind: BanKind, who: &str) -> String {
    format!("{}{BETWEEN}{who}", word(kind))
}

/// EMQX's word for what a ban looks at.
pub fn word(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Clientid => "clientid",
        BanKind::Username => "username",
        BanKind::Peerhost => "peerhost",
        BanKind::ClientidRe => "clientid_re",
        BanKind::UsernameRe => "username_re",
        BanKind::PeerhostNet => "peerhost_net",
    }
}

/// The kind of that word.
pub fn kind(text: &str) -> Option<BanKind> {
    let all = [
        BanKind::Clientid,
        BanKind::Username,
        BanKind::Peerhost,
        BanKind::ClientidRe,
        BanKind::UsernameRe,
        BanKind::PeerhostNet,
    ];
    all.into_iter().find(|kind| word(*kind) == text)
}

/// All bans whose time is not over.
pub fn all(context: &Context) -> Vec<Ban> {
    let now = clock::unix_s();
    let rows = context.state.bans.all().into_iter();
    let bans = rows.map(|(_, ban)| ban);
    bans.filter(|ban| ban.until_s.is_none_or(|until| until > now))
        .collect()
}

/// One ban whose time is not over.
pub fn find(context: &Context, kind: BanKind, who: &str) -> Option<Ban> {
    let ban = context.state.bans.get(&name(kind, who))?;
    let over = ban.until_s.is_some_and(|until| until <= clock::unix_s());
    (!over).then_some(ban)
}

/// Bans someone.
///
/// # Errors
/// It cannot be kept.
pub fn add(context: &Context, ban: Ban) -> Result<(), StateError> {
    forget_expired(context)?;
    context.state.bans.put(&name(ban.kind, &ban.who), ban)
}

/// Ends a ban; says whether there was one.
///
/// # Errors
/// The change cannot be kept.
pub fn remove(context: &Context, kind: BanKind, who: &str) -> Result<bool, StateError> {
    Ok(context.state.bans.remove(&name(kind, who))?.is_some())
}

fn forget_expired(context: &Context) -> Result<(), StateError> {
    let now = clock::unix_s();
    let over: Vec<String> = context.state.bans.read(|rows| {
        let over = rows
            .iter()
            .filter(|(_, ban)| ban.until_s.is_some_and(|until| until <= now));
        over.map(|(name, _)| name.clone()).collect()
    });
    for name in over {
        context.state.bans.remove(&name)?;
    }
    Ok(())
}
