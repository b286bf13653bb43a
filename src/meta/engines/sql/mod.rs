//! Metadata in the tables of the format's SQL family (format 4).
//!
//! What the databases of the family have in common is here: tables, the statement of each question and change,
//! rows to answers, pages of scans. Statements are written once, in SQLite's words. A database adds its
//! connections, how a batch travels and how what was read is held until the commit.

mod changes;
mod counters;
mod gets;
mod load;
mod mirror;
pub mod mysql;
mod pending;
pub mod postgres;
mod quota;
mod rows;
mod scan;
mod schema;
mod server;
pub mod sqlite;
mod statement;
