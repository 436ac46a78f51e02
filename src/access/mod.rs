//! Layer 2: who may enter and what they may do: decisions in memory, synchronous. What has to be asked
//! of others (databases, HTTP) is asked by `control/`.
//!
//! - [`acl`]: one rule and its plain reading; [`acl_file`], [`acl_terms`]: rules from a file;
//!   [`acl_compiled`]: many rules, quickly; [`acl_client`]: rules that come with a login
//! - [`rules`]: the chain of all of them, as the cores share it; [`cache`]: answers of others

pub mod acl;
pub mod acl_client;
pub mod acl_compiled;
pub mod acl_file;
pub mod acl_terms;
pub mod cache;
pub mod rules;

#[cfg(test)]
#[cfg(not(loom))]
mod acl_tests;
