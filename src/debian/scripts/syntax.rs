//! Reads the plain subset of POSIX shell that maintainer scripts are mostly written in.
//!
//! ```text
//! list    := and_or (newline | ";")...
//! and_or  := ["!"] command (("&&" | "||") and_or)*
//! command := if | case | function | "{" list "}" | "(" list ")" | for/while | simple, then "|" ...
//! ```
//!
//! Words keep their quoting, since a single-quoted `$` is no variable. What lies outside this subset is
//! an error with its line; the caller then asks for a declaration. No guess is made.

mod tokens;

use tokens::{Token, tokens};

/// A list of commands.
pub type List = Vec<Command>;

/// A command and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// 1-based.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words with their quotes, redirections left out; an assignment is a word too.
    Simple {
        /// `["chown", "root:adm", "\"$logdir\""]`
        words: Vec<String>,
        /// Whether its output goes to a file other than /dev/null.
        writes: bool,
    },
    /// `a | b`: its parts.
    Pipe(Vec<Command>),
    /// `! a`
    Not(Box<Command>),
    /// `a && b`
    And(Box<Command>, Box<Command>),
    /// `a || b`
    Or(Box<Command>, Box<Command>),
    /// `if`, with its branches in order; an `else` has an empty condition.
    If(Vec<(List, List)>),
    /// `case`, with the patterns and body of each arm.
    Case(String, Vec<(Vec<String>, List)>),
    /// `for`: the variable, the words it takes, the body.
    For(String, Vec<String>, List),
    /// `while` and `until`: everything in it.
    Loop(List),
    /// `{ a; }`
    Group(List),
    /// `( a )`
    Subshell(List),
    /// `name() { a; }`
    Function(String, List),
}

/// What is outside the subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// 1-based.
    pub line: usize,
    /// What stands there.
    pub what: String,
}

/// Deeper nesting than this is no maintainer script.
const MAX_DEPTH: usize = 60;

/// Parses a script. `first_line` is the number of its first line.
///
/// # Errors
/// The first thing outside the subset.
pub fn parse(text: &str, first_line: usize) -> Result<List, SyntaxError> {
    let tokens = tokens(text, first_line)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(token) => Err(parser.error(format!("unexpected {token:?}"))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn line(&self) -> usize {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(1, |(line, _)| *line)
    }

    fn error(&self, what: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line(), what: what.into() }
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Operator(found)) if *found == operator);
        self.at += usize::from(found);
        found
    }

    fn skip_breaks(&mut self) {
        while self.take_operator("\n") {}
    }

    fn word(&mut self, wanted: &str) -> Result<(), SyntaxError> {
        if self.peek_word() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(format!("expected '{wanted}'")))
    }

    fn any_word(&mut self) -> Result<String, SyntaxError> {
        let word = self.peek_word().map(str::to_owned).ok_or_else(|| self.error("expected a word"));
        self.at += 1;
        word
    }

    /// Commands up to one of the closing words, `;;` or `)`, none of which is taken.
    fn list(&mut self, closers: &[&str]) -> Result<List, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nesting too deep"));
        }
        let mut list = Vec::new();
        loop {
            while self.take_operator("\n") || self.take_operator(";") {}
            match self.peek() {
                None | Some(Token::Operator(")" | ";;")) => break,
                Some(Token::Word(word)) if closers.contains(&word.as_str()) => break,
                _ => list.push(self.and_or()?),
            }
        }
        self.depth -= 1;
        Ok(list)
    }

    fn and_or(&mut self) -> Result<Command, SyntaxError> {
        let mut left = self.pipe()?;
        loop {
            let and = self.take_operator("&&");
            if !and && !self.take_operator("||") {
                return Ok(left);
            }
            self.skip_breaks();
            let (line, right) = (left.line, Box::new(self.pipe()?));
            let left_box = Box::new(left);
            let kind = if and { Kind::And(left_box, right) } else { Kind::Or(left_box, right) };
            left = Command { line, kind };
        }
    }

    fn pipe(&mut self) -> Result<Command, SyntaxError> {
        let line = self.line();
        if self.peek_word() == Some("!") {
            self.at += 1;
            return Ok(Command { line, kind: Kind::Not(Box::new(self.pipe()?)) });
        }
        let mut parts = vec![self.command()?];
        while self.take_operator("|") {
            self.skip_breaks();
            parts.push(self.command()?);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        Ok(Command { line, kind: Kind::Pipe(parts) })
    }

    fn command(&mut self) -> Result<Command, SyntaxError> {
        let line = self.line();
        let subshell = self.take_operator("(");
        let kind = match self.peek_word() {
            _ if subshell => {
                let list = self.list(&[])?;
                if !self.take_operator(")") {
                    return Err(self.error("expected ')'"));
                }
                Kind::Subshell(list)
            }
            Some("if") => self.if_command()?,
            Some("case") => self.case_command()?,
            Some("for" | "while" | "until") => self.loop_command()?,
            Some("{") => {
                self.at += 1;
                let list = self.list(&["}"])?;
                self.word("}")?;
                Kind::Group(list)
            }
            _ => return self.simple(),
        };
        // What a whole block writes is judged like one command's output.
        while let Some(Token::Redirect(writes)) = self.peek() {
            if *writes {
                return Err(self.error("a block whose output is redirected to a file"));
            }
            self.at += 1;
        }
        Ok(Command { line, kind })
    }

    fn simple(&mut self) -> Result<Command, SyntaxError> {
        let line = self.line();
        let (mut words, mut writes) = (Vec::new(), false);
        loop {
            match self.peek() {
                Some(Token::Word(word)) => words.push(word.clone()),
                Some(Token::Redirect(to_file)) => writes |= to_file,
                _ => break,
            }
            self.at += 1;
        }
        if words.len() == 1 && self.take_operator("(") {
            if !self.take_operator(")") {
                return Err(self.error("expected ')'"));
            }
            self.skip_breaks();
            let body = self.command()?;
            return Ok(Command { line, kind: Kind::Function(words.remove(0), vec![body]) });
        }
        if words.is_empty() && !writes {
            return Err(self.error("expected a command"));
        }
        Ok(Command { line, kind: Kind::Simple { words, writes } })
    }

    fn if_command(&mut self) -> Result<Kind, SyntaxError> {
        let mut branches = Vec::new();
        self.word("if")?;
        loop {
            let condition = self.list(&["then"])?;
            self.word("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            branches.push((condition, body));
            match self.any_word()?.as_str() {
                "elif" => {}
                "else" => {
                    let body = self.list(&["fi"])?;
                    branches.push((Vec::new(), body));
                    self.word("fi")?;
                    break;
                }
                _ => break,
            }
        }
        Ok(Kind::If(branches))
    }

    fn case_command(&mut self) -> Result<Kind, SyntaxError> {
        self.word("case")?;
        let subject = self.any_word()?;
        self.skip_breaks();
        self.word("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_breaks();
            if self.peek_word() == Some("esac") {
                self.at += 1;
                return Ok(Kind::Case(subject, arms));
            }
            self.take_operator("(");
            let mut patterns = vec![self.any_word()?];
            while self.take_operator("|") {
                patterns.push(self.any_word()?);
            }
            if !self.take_operator(")") {
                return Err(self.error("expected ')' after a pattern"));
            }
            arms.push((patterns, self.list(&["esac"])?));
            self.take_operator(";;");
        }
    }

    fn loop_command(&mut self) -> Result<Kind, SyntaxError> {
        if self.any_word()? != "for" {
            let mut list = self.list(&["do"])?;
            list.extend(self.loop_body()?);
            return Ok(Kind::Loop(list));
        }
        let variable = self.any_word()?;
        self.skip_breaks();
        let mut words = Vec::new();
        if self.peek_word() == Some("in") {
            self.at += 1;
            while let Some(word) = self.peek_word().map(str::to_owned) {
                words.push(word);
                self.at += 1;
            }
        } else {
            words.push("$@".to_owned());
        }
        while self.take_operator("\n") || self.take_operator(";") {}
        Ok(Kind::For(variable, words, self.loop_body()?))
    }

    fn loop_body(&mut self) -> Result<List, SyntaxError> {
        self.word("do")?;
        let list = self.list(&["done"])?;
        self.word("done")?;
        Ok(list)
    }
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
