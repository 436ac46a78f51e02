//! Layer 2: who may enter and what they may do: decisions in memory, synchronous. What has to be asked
//! of others (databases, HTTP) is asked by `control/`.
//!
//! - [`acl`]: one rule and its plain reading; [`acl_file`], [`acl_terms`]: rules from a file;
//!   [`acl_compiled`]: many rules, quickly; [`acl_client`]: rules that come with a login
//! - [`bans`], [`flapping`]: who may not enter; [`limiter`]: how much one may send; [`overload`]: when
//!   nobody new is let in
//! - [`rules`]: the chain of all of them, as the cores share it; [`cache`]: answers of others
//! - [`credential`], [`password`], [`scram`], [`jwt`]: how clients prove who they
//!   are

pub mod acl;
pub mod acl_client;
pub mod acl_compiled;
pub mod acl_file;
pub mod acl_terms;
pub mod bans;
pub mod cache;
#[cfg(not(loom))]
pub mod credential;
pub mod flapping;
#[cfg(not(loom))]
pub mod jwt;
pub mod limiter;
pub mod overload;
#[cfg(not(loom))]
pub mod password;
pub mod rules;
#[cfg(not(loom))]
pub mod scram;

#[cfg(test)]
#[cfg(not(loom))]
mod acl_tests;
