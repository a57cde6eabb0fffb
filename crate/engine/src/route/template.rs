//! URI templates, `/users/{id}/**`: patterns for whole paths, and paths made of what their variables matched.

use regex::bytes::Regex;

/// `UriTemplateMatchConfig`: a pattern of segments. `*` is one segment, `**` any number, `{name}` and `{name=pattern}` are
/// what a rewrite can use.
#[derive(Clone, Debug)]
pub struct Template {
    pattern: Regex,
    /// All matching paths begin so.
    beginning: Box<[u8]>,
}

/// What operators match: RFC 3986's path characters.
const CLASS: &str = r"a-zA-Z0-9\-._~%!$&'()*+,;:@=";
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;

impl Template {
    /// Reads a template; the error says what is wrong with it, in Envoy's words where it has some.
    pub fn new(text: &str) -> Result<Template, String> {
        let mut reader = Reader { rest: text, pattern: String::from(r"\A"), names: Vec::new(), text_glob: false };
        let Some(segments) = text.strip_prefix('/').filter(|s| s.bytes().all(|b| b.is_ascii_graphic())) else {
            return Err(format!("Invalid pattern: {text:?}"));
        };
        let literal = segments.find(['*', '{']).unwrap_or(segments.len());
        // The index looks at paths that may have lost what follows a semicolon.
        let beginning = &text[..1 + segments[..literal].find(';').unwrap_or(literal)];
        reader.take("/");
        while !reader.rest.is_empty() {
            reader.segment()?;
            if reader.rest.starts_with('/') {
                reader.take("/");
            }
        }
        reader.pattern.push_str(r"\z");
        let pattern = Regex::new(&reader.pattern).map_err(|e| e.to_string())?;
        Ok(Template { pattern, beginning: beginning.as_bytes().into() })
    }

    /// Whether all of `path` matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.pattern.is_match(path)
    }

    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }
}

/// What is left of a template, and the regular expression made of the rest.
struct Reader<'t> {
    rest: &'t str,
    pattern: String,
    names: Vec<&'t str>,
    text_glob: bool,
}

impl<'t> Reader<'t> {
    /// Takes text that stands next, as it is.
    fn take(&mut self, text: &str) {
        self.pattern.push_str(&regex::escape(text));
        self.rest = &self.rest[text.len()..];
    }

    /// An operator, which only the end of the template may follow beside a slash, or text around a variable.
    fn segment(&mut self) -> Result<(), String> {
        if self.rest.starts_with('*') {
            self.operator()?;
            if !self.segment_ends() {
                self.literal("/")?;
                if !self.rest.is_empty() {
                    return Err("Prefix match not supported.".into());
                }
            }
            return Ok(());
        }
        if !self.rest.starts_with('{') {
            self.literal("/{")?;
        }
        if self.rest.starts_with('{') {
            self.variable()?;
            if !self.segment_ends() {
                self.literal("/")?;
            }
        }
        Ok(())
    }

    fn segment_ends(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with('/')
    }

    /// Text up to one of these characters.
    fn literal(&mut self, ends: &str) -> Result<(), String> {
        let end = self.rest.find(|c| ends.contains(c)).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        if text.is_empty() || !text.bytes().all(is_literal) {
            return Err(format!("Invalid literal: {text:?}"));
        }
        self.take(text);
        Ok(())
    }

    fn operator(&mut self) -> Result<(), String> {
        if self.text_glob {
            return Err("Glob after text glob.".into());
        }
        self.text_glob = self.rest.starts_with("**");
        let (length, class) = if self.text_glob { (2, format!("[{CLASS}/]*")) } else { (1, format!("[{CLASS}]+")) };
        self.pattern.push_str(&class);
        self.rest = &self.rest[length..];
        Ok(())
    }

    fn variable(&mut self) -> Result<(), String> {
        let (inside, behind) = self.rest[1..].split_once('}').ok_or("Unmatched variable bracket")?;
        let (name, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        if !is_name(name) {
            return Err(format!("Invalid variable name: {name:?}"));
        }
        if name.len() > MAX_NAME {
            return Err(format!("Invalid variable name length (length of {name:?} should be at least 1 and no more than {MAX_NAME})"));
        }
        if self.names.contains(&name) {
            return Err(format!("Repeated variable name: {name:?}"));
        }
        if self.names.len() == MAX_VARIABLES {
            return Err(format!("Exceeded variable count limit ({MAX_VARIABLES})"));
        }
        self.names.push(name);
        self.pattern.push_str(&format!("(?P<{name}>"));
        self.rest = pattern;
        loop {
            match self.rest.as_bytes() {
                [b'*', ..] => self.operator()?,
                _ => self.literal("/")?,
            }
            match self.rest {
                "" => break,
                rest if rest.starts_with('/') && rest.len() > 1 => self.take("/"),
                _ => return Err("Invalid variable match".into()),
            }
        }
        self.pattern.push(')');
        self.rest = behind;
        Ok(())
    }
}

/// `UriTemplateRewriteConfig`: a path made of text and of what the variables of the route's template matched.
#[derive(Clone, Debug)]
pub struct TemplateRewrite {
    template: Template,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<[u8]>),
    /// The number of a group.
    Variable(usize),
}

impl TemplateRewrite {
    /// Reads a rewrite for paths that `template` matches; the error says what is wrong with it.
    pub fn new(template: &Template, text: &str) -> Result<TemplateRewrite, String> {
        if !text.starts_with('/') {
            return Err("Invalid rewrite variable placement".into());
        }
        if text.contains("//") {
            return Err("Invalid rewrite literal".into());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, behind) = rest.split_once('{').map_or((rest, None), |(literal, behind)| (literal, Some(behind)));
            if !literal.bytes().all(|b| is_literal(b) || b == b'/') {
                return Err("Invalid rewrite literal pattern".into());
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.as_bytes().into()));
            }
            let Some(behind) = behind else { break };
            let (name, behind) = behind.split_once('}').ok_or("Unmatched variable bracket")?;
            if !is_name(name) {
                return Err("Invalid variable name".into());
            }
            let group = template.pattern.capture_names().position(|n| n == Some(name));
            pieces.push(Piece::Variable(group.ok_or_else(|| format!("Nonexisting variable name: {name:?}"))?));
            rest = behind;
        }
        Ok(TemplateRewrite { template: template.clone(), pieces })
    }

    /// The new path; nothing where the path is no longer one that the template matches.
    pub(super) fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let found = self.template.pattern.captures(path)?;
        let mut out = Vec::with_capacity(path.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Variable(group) => out.extend_from_slice(found.get(*group).map_or(&[][..], |m| m.as_bytes())),
            }
        }
        Some(out)
    }
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_whole_paths() {
        for (template, path, want) in [
            ("/", "/", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a//c", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a", false),
            ("/a/**.html", "/a/b/c.html", true),
            ("/a/**.html", "/a/b/cxhtml", false),
            ("/{a}/{b=x/*}/z", "/1/x/2/z", true),
            ("/{a}/{b=x/*}/z", "/1/2/z", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/*", "/a=*b", true),
            ("/*", "/a[b", false),
            ("/x{a}z/b{c}/*", "/xyz/b1/c", true),
            ("/x{a}z/b{c}/*", "/xz/b1/c", false),
            ("/a(b)+$", "/a(b)+$", true),
        ] {
            let template = Template::new(template).unwrap();
            assert_eq!(template.matches(path.as_bytes()), want, "{template:?} {path}");
            assert!(!want || path.as_bytes().starts_with(template.beginning()), "{template:?}");
        }
    }

    #[test]
    fn bad_templates_say_why() {
        for (template, why) in [
            ("", "Invalid pattern"),
            ("a", "Invalid pattern"),
            ("/a b", "Invalid pattern"),
            ("/é", "Invalid pattern"),
            ("/a//b", "Invalid literal"),
            ("/a[b]", "Invalid literal"),
            ("/*x/y", "Prefix match"),
            ("/a*b", "Invalid literal"),
            ("/***", "Invalid literal"),
            ("/{a}{b}", "Invalid literal"),
            ("/**/*", "Glob after text glob"),
            ("/{a=**}/{b}", "Glob after text glob"),
            ("/{a", "Unmatched"),
            ("/{}", "Invalid variable name"),
            ("/{a=}", "Invalid literal"),
            ("/{a=b/}", "Invalid variable match"),
            ("/{a=*b}", "Invalid variable match"),
            ("/{a}/{a}", "Repeated"),
            ("/{abcdefghijklmnopq}", "length"),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", "count limit"),
            ("/*.x/y", "Prefix match"),
        ] {
            let error = Template::new(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn rewrites_are_made_of_variables() {
        let template = Template::new("/{country}/{lang=x/**}/end").unwrap();
        let rewrite = TemplateRewrite::new(&template, "/n/{lang}-{country}/{country}").unwrap();
        assert_eq!(rewrite.apply(b"/us/x/y/z/end").unwrap(), b"/n/x/y/z-us/us");
        assert_eq!(rewrite.apply(b"/us/y/end"), None);
        for (text, why) in [
            ("", "placement"),
            ("{country}", "placement"),
            ("/a//b", "literal"),
            ("/a*", "literal pattern"),
            ("/{country", "bracket"),
            ("/{1}", "variable name"),
            ("/{other}", "Nonexisting"),
        ] {
            let error = TemplateRewrite::new(&template, text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn any_text_is_a_template_or_says_why_not() {
        let words = ["/", "*", "**", "{", "}", "{a}", "{b=*}", "{c=x/**}", "=", "%", ";", "(", ".html"];
        plenipo_testkit::fuzz::fuzz(include_str!("../../tests/corpus/uri-template.txt"), &words, |input, _| {
            // A template, a path and a rewrite, with a space between them.
            let text = String::from_utf8_lossy(input);
            let mut parts = text.splitn(3, ' ');
            let mut next = || parts.next().unwrap_or_default();
            let (template, path, rewrite) = (next(), next(), next());
            let template = match Template::new(template) {
                Ok(template) => template,
                Err(why) => return (why.split([':', '(']).next().map(str::to_owned), false, false),
            };
            let matches = template.matches(path.as_bytes());
            assert!(!matches || path.as_bytes().starts_with(template.beginning()));
            let rewritten = TemplateRewrite::new(&template, rewrite).ok().map(|rewrite| rewrite.apply(path.as_bytes()));
            if let Some(new) = &rewritten {
                assert_eq!(new.is_some(), matches);
                assert!(new.as_ref().is_none_or(|new| new.starts_with(b"/")));
            }
            (None, matches, rewritten.is_some())
        });
    }
}
