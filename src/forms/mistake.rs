//! What is wrong with a document, and where.

use std::fmt;

/// One mistake: where it is, what it is, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, or the environment variable.
    pub source: String,
    /// Line and column from 1; `None` in an environment variable or for a field that is missing altogether.
    pub at: Option<(usize, usize)>,
    /// The field's path, such as `data_plane.listen`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

/// All that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// `Ok` if nothing is wrong.
    pub fn check(mistakes: Vec<Mistake>) -> Result<(), Mistakes> {
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }

    /// A single mistake about a whole file.
    pub fn of_file(file: &str, problem: String) -> Mistakes {
        Mistakes(vec![Mistake {
            source: file.to_owned(),
            at: None,
            field: String::new(),
            problem,
            hint: None,
        }])
    }

    /// Each of them, to be joined with others.
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
