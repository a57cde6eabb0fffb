//! `plenipo validate`: prints every problem of configuration files.

use std::{io::Write, path::Path};

use plenipo_api::{Input, Issue, Options, Severity, UnknownFields, read_bootstrap};
use plenipo_engine::engine;

use crate::flags::Validate;

/// Checks every file; the exit status is 1 if one of them has an error.
pub fn validate(flags: &Validate) -> u8 {
    let mut failed = false;
    // Nobody is left to tell when the pipe is closed (`plenipo validate … | head`); the exit status still counts.
    let mut out = std::io::stdout().lock();
    for file in &flags.files {
        let issues = check(file, flags.schema);
        let bad = issues.iter().any(|i| i.severity == Severity::Error || flags.strict);
        for issue in &issues {
            let _ = writeln!(out, "{}", line(issue, file));
        }
        if !bad {
            let _ = writeln!(out, "{}: OK", file.display());
        }
        failed |= bad;
    }
    u8::from(failed)
}

fn check(file: &Path, schema: bool) -> Vec<Issue> {
    let input = match read(file) {
        Ok(input) => input,
        Err(issues) => return issues,
    };
    if !schema {
        return engine::validate(vec![input], &engine::Options::default());
    }
    match read_bootstrap(vec![input], &Options { support: None, unknown_fields: UnknownFields::Reject }) {
        Ok(loaded) => loaded.warnings,
        Err(issues) => issues,
    }
}

/// Reads a bootstrap file.
pub fn read(file: &Path) -> Result<Input, Vec<Issue>> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| {
        let mut issue = Issue::error(plenipo_api::IssueCode::ConfigInvalid, "", format!("cannot be read: {e}"));
        issue.file = Some(name.clone());
        vec![issue]
    })?;
    Input::file(&name, bytes)
}

/// One problem on one line: where, what, what was expected and found, and what to do.
pub fn line(issue: &Issue, file: &Path) -> String {
    let mut text = issue.file.clone().unwrap_or_else(|| file.display().to_string());
    for number in [issue.line, issue.column].into_iter().flatten() {
        text.push_str(&format!(":{number}"));
    }
    text.push_str(&format!(": {}: ", issue.severity.as_str()));
    if !issue.path.is_empty() {
        text.push_str(&format!("{}: ", issue.path));
    }
    text.push_str(&issue.message);
    let (expected, got) = (issue.expected.as_ref().map(|e| format!("expected {e}")), issue.got.as_ref().map(|g| format!("got {g}")));
    let found: Vec<_> = [expected, got].into_iter().flatten().collect();
    if !found.is_empty() {
        text.push_str(&format!(" ({})", found.join(", ")));
    }
    if let Some(hint) = &issue.hint {
        text.push_str(&format!("; {hint}"));
    }
    // A key of the file may hold line ends and a terminal's commands.
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
