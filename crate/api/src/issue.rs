//! One problem of a configuration: what, where, what was expected, what was found, and what to write instead.

use std::fmt;

/// What kind of problem an [`Issue`] is. The text form (`ERR_PLENIPO_…`) is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IssueCode {
    /// Broken syntax, a wrong type, a broken rule.
    ConfigInvalid,
    /// A field, enum value or `@type` that Envoy's API does not have.
    UnknownField,
    /// Valid for Envoy, but not implemented by this proxy.
    Unsupported,
    /// A name that nothing in the configuration defines, such as a route's cluster.
    RefNotFound,
    /// A certificate, key or TLS parameter that cannot be used.
    Tls,
    /// An address that cannot be bound.
    Bind,
    /// The caller's expected version is not the running one.
    VersionConflict,
}

impl IssueCode {
    /// The stable code, as in the Node API.
    pub fn as_str(self) -> &'static str {
        match self {
            IssueCode::ConfigInvalid => "ERR_PLENIPO_CONFIG_INVALID",
            IssueCode::UnknownField => "ERR_PLENIPO_CONFIG_UNKNOWN_FIELD",
            IssueCode::Unsupported => "ERR_PLENIPO_CONFIG_UNSUPPORTED",
            IssueCode::RefNotFound => "ERR_PLENIPO_REF_NOT_FOUND",
            IssueCode::Tls => "ERR_PLENIPO_TLS",
            IssueCode::Bind => "ERR_PLENIPO_BIND",
            IssueCode::VersionConflict => "ERR_PLENIPO_VERSION_CONFLICT",
        }
    }
}

impl fmt::Display for IssueCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an [`Issue`] stops the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used all the same.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem found in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What kind of problem it is.
    pub code: IssueCode,
    /// Whether it stops the load.
    pub severity: Severity,
    /// Field path in proto names, such as `static_resources.listeners[0].name`; a map key stands as `["key"]`.
    /// Empty for the document itself.
    pub path: String,
    /// File name as given by the caller.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// What should stand there.
    pub expected: Option<String>,
    /// What stands there, shortened; never a value of a sensitive field.
    pub got: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The problem in one sentence, without the place.
    pub message: String,
}

impl Issue {
    /// An error without a place in a file yet; [`crate::Places::annotate`] adds it.
    pub fn error(code: IssueCode, path: impl Into<String>, message: impl Into<String>) -> Issue {
        Issue {
            code,
            severity: Severity::Error,
            path: path.into(),
            file: None,
            line: None,
            column: None,
            expected: None,
            got: None,
            hint: None,
            message: message.into(),
        }
    }

    /// A warning without a place in a file yet.
    pub fn warning(code: IssueCode, path: impl Into<String>, message: impl Into<String>) -> Issue {
        Issue { severity: Severity::Warning, ..Issue::error(code, path, message) }
    }

    /// The same issue with what should stand there.
    pub fn expected(mut self, expected: impl Into<String>) -> Issue {
        self.expected = Some(expected.into());
        self
    }

    /// The same issue with what stands there.
    pub fn got(mut self, got: impl Into<String>) -> Issue {
        self.got = Some(got.into());
        self
    }

    /// The same issue with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Issue {
        self.hint = Some(hint.into());
        self
    }
}

/// `envoy.yaml:12:7: error: static_resources.clusters[0].lb_policy: unknown value; expected …; got …; did you mean …? [CODE]`
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.line.is_some() {
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity.as_str())?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(got) = &self.got {
            write!(f, "; got {got}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        write!(f, " [{}]", self.code)
    }
}

/// Shortens and quotes what a file holds, for `got`.
pub(crate) fn show(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        if n == LIMIT {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            c if c.is_control() => out.push('�'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The candidate nearest to `word`, if it is near enough to be a likely slip.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 100 {
        return None;
    }
    let plain = |s: &str| s.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let word = plain(word);
    let limit = (word.len() / 3).clamp(1, 4);
    let mut best = None;
    for candidate in candidates {
        let distance = edit_distance(&word, &plain(candidate), limit);
        if distance <= limit && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, c)| c)
}

/// Edit distance with swaps of neighbours; stops early once it exceeds `limit`.
fn edit_distance(a: &[char], b: &[char], limit: usize) -> usize {
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_leaves_strangers_alone() {
        let names = ["connect_timeout", "lb_policy", "name", "type"];
        for (word, want) in [
            ("conect_timeout", Some("connect_timeout")),
            ("connectTimeout", Some("connect_timeout")),
            ("connect-timeout", Some("connect_timeout")),
            ("nmae", Some("name")),
            ("lbpolicy", Some("lb_policy")),
            ("weather", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), want, "{word}");
        }
    }

    #[test]
    fn display_reads_as_a_compiler_line() {
        let mut issue = Issue::error(IssueCode::UnknownField, "a.b", "unknown field").hint("did you mean \"c\"?");
        issue.file = Some("x.yaml".to_owned());
        issue.line = Some(3);
        issue.column = Some(5);
        assert_eq!(issue.to_string(), "x.yaml:3:5: error: a.b: unknown field; did you mean \"c\"? [ERR_PLENIPO_CONFIG_UNKNOWN_FIELD]");
    }
}
