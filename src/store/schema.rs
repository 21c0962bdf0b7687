//! Whether the tables of a database are those that its version should have.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::migrations;

/// Statements that made tables and indices, by what and which they made.
type Schema = BTreeMap<(String, String), String>;

/// What is wrong with the tables and indices of an open database, one line each. What somebody added for
/// themselves is not.
///
/// # Errors
/// When its schema cannot be read.
pub fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let version = migrations::version(connection)?;
    let (found, wanted) = (schema(connection)?, made(version)?);
    let newest = made(migrations::current_version())?;
    let of_version = wanted
        .iter()
        .filter_map(|(key, statement)| match found.get(key) {
            None => Some((key, "is missing".to_owned())),
            Some(found) if found == statement => None,
            Some(_) => Some((key, format!("is not as version {version} made it"))),
        });
    // A database of an earlier version in which they are cannot be brought up to date.
    let of_later = newest
        .keys()
        .filter(|key| found.contains_key(*key) && !wanted.contains_key(*key))
        .map(|key| (key, format!("is of a later version than {version}")));
    let faults = of_version.chain(of_later);
    Ok(faults
        .map(|((kind, name), fault)| format!("the {kind} `{name}` {fault}"))
        .collect())
}

/// The schema that a version makes.
fn made(version: i64) -> rusqlite::Result<Schema> {
    let connection = Connection::open_in_memory()?;
    migrations::make(&connection, version)?;
    schema(&connection)
}

fn schema(connection: &Connection) -> rusqlite::Result<Schema> {
    connection
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?
        .query_map([], |row| {
            let statement: String = row.get(2)?;
            Ok(((row.get(0)?, row.get(1)?), plain(&statement)))
        })?
        .collect()
}

/// A statement without its comments and line breaks.
fn plain(statement: &str) -> String {
    let lines = statement.lines();
    let words = lines.flat_map(|line| line.split("--").next().unwrap_or(line).split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}
