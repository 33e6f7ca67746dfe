//! Which paths of a deployment may be called: patterns, or what a known kind of model server serves for scoring.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A path in which stars stand for others: at the end for any rest, elsewhere for what lies between two slashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

/// Model servers whose inference paths are known. Their management paths (loading models, adapters, profiling, metrics)
/// are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Azure Machine Learning's inference server.
    Azureml,
    /// KServe's protocol, version 1.
    KserveV1,
    /// KServe's protocol, version 2, also called the Open Inference Protocol.
    KserveV2,
    /// MLflow's `models serve`.
    Mlflow,
    /// Whatever speaks OpenAI's API.
    Openai,
    /// SGLang.
    Sglang,
    /// Hugging Face's Text Generation Inference.
    Tgi,
    /// NVIDIA Triton.
    Triton,
    /// vLLM.
    Vllm,
}

/// One entry of `allowed_paths`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AllowedPath {
    /// The paths that fit.
    Pattern(PathPattern),
    /// Those of a kind of model server.
    Profile(Profile),
}

/// Why a text is no entry of `allowed_paths`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither a path nor a profile.
    #[error("`{0}` is neither a path that begins with a slash nor one of {known}", known = profiles())]
    Unknown(String),
    /// It could not be sent.
    #[error("`{0}` is no path")]
    Unsound(String),
}

impl Profile {
    /// Every profile with its name.
    pub const ALL: [(&'static str, Profile); 9] = [
        ("azureml", Profile::Azureml),
        ("kserve-v1", Profile::KserveV1),
        ("kserve-v2", Profile::KserveV2),
        ("mlflow", Profile::Mlflow),
        ("openai", Profile::Openai),
        ("sglang", Profile::Sglang),
        ("tgi", Profile::Tgi),
        ("triton", Profile::Triton),
        ("vllm", Profile::Vllm),
    ];

    /// The paths that score, or that tell a client what it needs for that.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Profile::Azureml => &["/score", "/swagger.json"],
            Profile::Mlflow => &["/invocations", "/ping", "/health", "/version"],
            Profile::KserveV1 => &["/v1/models", "/v1/models/{model}"],
            Profile::KserveV2 => &[
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models/*/ready",
                "/v2/models/*/infer",
                "/v2/models/*/versions/*/ready",
                "/v2/models/*/versions/*/infer",
                "/v2/models/{model}",
                "/v2/models/*/versions/{version}",
                "/inference.GRPCInferenceService/*",
                "/grpc.health.v1.Health/*",
            ],
            Profile::Triton => &[
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models/*/ready",
                "/v2/models/*/infer",
                "/v2/models/*/generate",
                "/v2/models/*/generate_stream",
                "/v2/models/*/versions/*/ready",
                "/v2/models/*/versions/*/infer",
                "/v2/models/*/versions/*/generate",
                "/v2/models/*/versions/*/generate_stream",
                "/v2/models/{model}",
                "/v2/models/*/versions/{version}",
                "/inference.GRPCInferenceService/ModelInfer",
                "/inference.GRPCInferenceService/ModelStreamInfer",
                "/inference.GRPCInferenceService/ModelMetadata",
                "/inference.GRPCInferenceService/ModelReady",
                "/inference.GRPCInferenceService/ServerLive",
                "/inference.GRPCInferenceService/ServerReady",
                "/grpc.health.v1.Health/*",
            ],
            Profile::Openai => &[
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/embeddings",
                "/v1/responses",
                "/v1/models",
                "/v1/models/*",
                "/v1/audio/transcriptions",
                "/v1/audio/translations",
                "/v1/audio/speech",
                "/v1/images/generations",
                "/v1/moderations",
            ],
            Profile::Vllm => &[
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/embeddings",
                "/v1/responses",
                "/v1/models",
                "/v1/audio/transcriptions",
                "/v1/audio/translations",
                "/v1/score",
                "/v1/rerank",
                "/v2/rerank",
                "/score",
                "/rerank",
                "/pooling",
                "/classify",
                "/tokenize",
                "/detokenize",
                "/health",
                "/version",
            ],
            Profile::Sglang => &[
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/embeddings",
                "/v1/responses",
                "/v1/models",
                "/v1/models/*",
                "/v1/rerank",
                "/v1/score",
                "/generate",
                "/encode",
                "/classify",
                "/health",
                "/model_info",
                "/get_model_info",
            ],
            Profile::Tgi => &[
                "/",
                "/generate",
                "/generate_stream",
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/models",
                "/invocations",
                "/tokenize",
                "/chat_tokenize",
                "/info",
                "/health",
            ],
        }
    }

    /// Whether it speaks OpenAI's API, so that Azure OpenAI's paths lead to it, too.
    pub fn is_openai(self) -> bool {
        matches!(self, Profile::Openai | Profile::Vllm | Profile::Sglang | Profile::Tgi)
    }
}

fn profiles() -> String {
    Profile::ALL.map(|(name, _)| name).join(", ")
}

impl AllowedPath {
    /// Whether it covers a path.
    pub fn covers(&self, path: &str) -> bool {
        match self {
            AllowedPath::Pattern(pattern) => fits(pattern.as_str(), path),
            AllowedPath::Profile(profile) => profile.paths().iter().any(|pattern| fits(pattern, path)),
        }
    }
}

impl PathPattern {
    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a path fits a pattern. In the patterns of profiles `{name}` stands for one last segment, where a star would
/// stand for any rest.
fn fits(mut pattern: &str, mut path: &str) -> bool {
    loop {
        let Some(star) = pattern.find(['*', '{']) else { return pattern == path };
        let Some((before, rest)) = pattern.split_at_checked(star) else { return false };
        let Some(left) = path.strip_prefix(before) else { return false };
        if rest == "*" {
            return true;
        }
        let segment = left.find('/').unwrap_or(left.len());
        let (filled, after) = left.split_at_checked(segment).unwrap_or((left, ""));
        if rest.starts_with('{') {
            return !filled.is_empty() && after.is_empty();
        }
        // What follows the star up to the next slash has to end the segment: `/v1/models/*:predict`.
        let tail = rest.get(1..).unwrap_or_default();
        let (end, more) = tail.split_at_checked(tail.find('/').unwrap_or(tail.len())).unwrap_or((tail, ""));
        let Some(star_part) = filled.strip_suffix(end) else { return false };
        if star_part.is_empty() || end.contains('*') {
            return false;
        }
        (pattern, path) = (more, after);
    }
}

impl FromStr for AllowedPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<AllowedPath, PathError> {
        let shown = || text.chars().take(120).collect::<String>();
        if !text.starts_with('/') {
            let known = Profile::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            let known = known.map(|(_, profile)| AllowedPath::Profile(*profile));
            return known.ok_or_else(|| PathError::Unknown(shown()));
        }
        let sound = text.parse::<http::uri::PathAndQuery>().is_ok_and(|path| path.query().is_none());
        let plain = !text.contains(['{', '#']) && !text.contains("**");
        if sound && plain {
            Ok(AllowedPath::Pattern(PathPattern(text.to_owned())))
        } else {
            Err(PathError::Unsound(shown()))
        }
    }
}

impl TryFrom<String> for AllowedPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<AllowedPath, PathError> {
        text.parse()
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PathError;

    fn try_from(text: String) -> Result<PathPattern, PathError> {
        match text.parse()? {
            AllowedPath::Pattern(pattern) => Ok(pattern),
            AllowedPath::Profile(_) => Err(PathError::Unsound(text)),
        }
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> String {
        pattern.0
    }
}

impl From<AllowedPath> for String {
    fn from(path: AllowedPath) -> String {
        path.to_string()
    }
}

impl fmt::Display for AllowedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedPath::Pattern(pattern) => f.write_str(&pattern.0),
            AllowedPath::Profile(profile) => {
                let name = Profile::ALL.iter().find(|(_, known)| known == profile);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(entry: &str, path: &str) -> bool {
        entry.parse::<AllowedPath>().unwrap().covers(path)
    }

    #[test]
    fn a_star_at_the_end_is_any_rest_and_elsewhere_one_segment() {
        for (entry, path, covered) in [
            ("/score", "/score", true),
            ("/score", "/score/", false),
            ("/score", "/Score", false),
            ("/v1/*", "/v1/a/b", true),
            ("/v1/*", "/v1/", true),
            ("/v1/*", "/v1", false),
            ("/v2/models/*/infer", "/v2/models/m/infer", true),
            ("/v2/models/*/infer", "/v2/models//infer", false),
            ("/v2/models/*/infer", "/v2/models/a/b/infer", false),
            ("/v2/models/*/infer", "/v2/models/m/inferno", false),
            ("/v1/models/*:predict", "/v1/models/m:predict", true),
            ("/v1/models/*:predict", "/v1/models/:predict", false),
            ("/v1/models/*:predict", "/v1/models/m:explain", false),
            ("/a/*/b/*", "/a/x/b/y/z", true),
            ("/*", "/anything", true),
        ] {
            assert_eq!(covers(entry, path), covered, "{entry} {path}");
        }
    }

    #[test]
    fn profiles_have_the_paths_that_score_and_not_those_that_manage() {
        for (profile, scores, manages) in [
            ("azureml", "/score", "/"),
            ("mlflow", "/invocations", "/metrics"),
            ("vllm", "/v1/chat/completions", "/v1/load_lora_adapter"),
            ("vllm", "/v1/embeddings", "/sleep"),
            ("sglang", "/generate", "/flush_cache"),
            ("sglang", "/v1/completions", "/update_weights_from_disk"),
            ("tgi", "/generate_stream", "/metrics"),
            ("triton", "/v2/models/m/versions/1/infer", "/v2/repository/models/m/load"),
            ("triton", "/v2/models/m/generate_stream", "/v2/models/m/config"),
            ("triton", "/v2/models/m", "/v2/models/m/trace/setting"),
            (
                "triton",
                "/inference.GRPCInferenceService/ModelInfer",
                "/inference.GRPCInferenceService/RepositoryModelLoad",
            ),
            ("kserve-v1", "/v1/models/m:predict", "/v1/repository"),
            ("kserve-v2", "/v2/models/m/infer", "/v2/repository/index"),
            ("openai", "/v1/chat/completions", "/v1/files"),
        ] {
            assert!(covers(profile, scores), "{profile} {scores}");
            assert!(!covers(profile, manages), "{profile} {manages}");
        }
    }

    #[test]
    fn entries_are_paths_or_profiles() {
        for entry in ["/score", "/v1/*", "vllm", "kserve-v2"] {
            assert_eq!(entry.parse::<AllowedPath>().unwrap().to_string(), entry);
        }
        for wrong in ["", "score", "/a b", "/a?b=c", "/a**", "/{x}", "*", "vLLm2"] {
            assert!(wrong.parse::<AllowedPath>().is_err(), "{wrong}");
        }
    }
}
