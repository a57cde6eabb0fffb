//! `/stats` and `/stats/prometheus`.

use super::{AdminSource, handler::Answer, handler::Parameters};
use crate::stats::{Buckets, Kinds, Query, json, prometheus as render_prometheus, text};

/// `/stats`
pub(super) fn stats(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    let query = match query(parameters) {
        Ok(query) => query,
        Err(answer) => return answer,
    };
    match parameters.get("format").unwrap_or("text") {
        "text" | "" => Answer::text(text(&source.stats(), &query)),
        "json" => Answer::raw_json(json(&source.stats(), &query)),
        "prometheus" => prometheus(source, parameters),
        _ => Answer::error(400, "usage: /stats?format=(json|prometheus|text)\n\n"),
    }
}

/// `/stats/prometheus`
pub(super) fn prometheus(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    match query(parameters) {
        Ok(query) => {
            let summary = parameters.get("histogram_buckets").is_some_and(|b| b == "summary");
            Answer::text(render_prometheus(&source.stats(), &query, summary))
        }
        Err(answer) => answer,
    }
}

fn query(parameters: &Parameters) -> Result<Query, Answer> {
    Ok(Query {
        used_only: parameters.has("usedonly"),
        filter: parameters.regex("filter")?,
        invert: parameters.has("invert_filter"),
        kinds: match parameters.get("type").unwrap_or("All") {
            "All" => Kinds::All,
            "Counters" => Kinds::Counters,
            "Gauges" => Kinds::Gauges,
            "Histograms" => Kinds::Histograms,
            "TextReadouts" => Kinds::TextReadouts,
            _ => return Err(Answer::error(400, "invalid &type= param")),
        },
        buckets: match parameters.get("histogram_buckets").unwrap_or("none") {
            "none" | "summary" | "" => Buckets::Summary,
            "cumulative" => Buckets::Cumulative,
            "disjoint" => Buckets::Disjoint,
            "detailed" => Buckets::Detailed,
            _ => return Err(Answer::error(400, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n")),
        },
    })
}
