//! The page at `/`: every endpoint with its help; what changes something is a button.

use super::handler::ENDPOINTS;

/// The page.
pub(super) fn page() -> String {
    let mut rows = String::new();
    for endpoint in ENDPOINTS.iter().filter(|e| e.path != "/") {
        let path = endpoint.path;
        let link = match endpoint.mutates {
            true => format!("<form method=\"post\" action=\"{path}\"><button>{path}</button></form>"),
            false => format!("<a href=\"{path}\">{path}</a>"),
        };
        let parameters: String =
            endpoint.parameters.iter().map(|(name, help)| format!("<li><code>{name}</code> {}</li>", escape(help))).collect();
        let list = if parameters.is_empty() { String::new() } else { format!("<ul>{parameters}</ul>") };
        rows.push_str(&format!("<tr><td>{link}</td><td>{}{list}</td></tr>\n", escape(endpoint.help)));
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>plenipo admin</title>\n<style>\n\
        body {{ font-family: sans-serif; margin: 2em; max-width: 70em; }}\n\
        table {{ border-collapse: collapse; }}\n\
        td {{ border-top: 1px solid #ddd; padding: .4em .8em; vertical-align: top; }}\n\
        ul {{ color: #555; font-size: smaller; margin: .3em 0; padding-left: 1.2em; }}\n\
        form {{ margin: 0; }}\n\
        </style>\n</head>\n<body>\n<h1>plenipo admin</h1>\n<table>\n{rows}</table>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
