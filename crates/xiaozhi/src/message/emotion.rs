//! The faces that stock firmware can make.

/// A face. Others that a message could name show nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)] // their names say it
pub enum Emotion {
    Neutral,
    #[default]
    Happy,
    Laughing,
    Funny,
    Sad,
    Angry,
    Crying,
    Loving,
    Embarrassed,
    Surprised,
    Shocked,
    Thinking,
    Winking,
    Cool,
    Relaxed,
    Delicious,
    Kissy,
    Confident,
    Sleepy,
    Silly,
    Confused,
}

impl Emotion {
    /// All of them.
    pub const ALL: [Emotion; 21] = [
        Emotion::Neutral,
        Emotion::Happy,
        Emotion::Laughing,
        Emotion::Funny,
        Emotion::Sad,
        Emotion::Angry,
        Emotion::Crying,
        Emotion::Loving,
        Emotion::Embarrassed,
        Emotion::Surprised,
        Emotion::Shocked,
        Emotion::Thinking,
        Emotion::Winking,
        Emotion::Cool,
        Emotion::Relaxed,
        Emotion::Delicious,
        Emotion::Kissy,
        Emotion::Confident,
        Emotion::Sleepy,
        Emotion::Silly,
        Emotion::Confused,
    ];

    /// As it is written in a message.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What clients without faces show.
    pub fn emoji(self) -> char {
        self.row().1
    }

    /// That of the first emoji in a text which is one of them.
    pub fn first_in(text: &str) -> Option<Emotion> {
        text.chars()
            .find_map(|c| Emotion::ALL.into_iter().find(|e| e.emoji() == c))
    }

    fn row(self) -> (&'static str, char) {
        match self {
            Emotion::Neutral => ("neutral", '😶'),
            Emotion::Happy => ("happy", '🙂'),
            Emotion::Laughing => ("laughing", '😆'),
            Emotion::Funny => ("funny", '😂'),
            Emotion::Sad => ("sad", '😔'),
            Emotion::Angry => ("angry", '😠'),
            Emotion::Crying => ("crying", '😭'),
            Emotion::Loving => ("loving", '😍'),
            Emotion::Embarrassed => ("embarrassed", '😳'),
            Emotion::Surprised => ("surprised", '😲'),
            Emotion::Shocked => ("shocked", '😱'),
            Emotion::Thinking => ("thinking", '🤔'),
            Emotion::Winking => ("winking", '😉'),
            Emotion::Cool => ("cool", '😎'),
            Emotion::Relaxed => ("relaxed", '😌'),
            Emotion::Delicious => ("delicious", '🤤'),
            Emotion::Kissy => ("kissy", '😘'),
            Emotion::Confident => ("confident", '😏'),
            Emotion::Sleepy => ("sleepy", '😴'),
            Emotion::Silly => ("silly", '😜'),
            Emotion::Confused => ("confused", '🙄'),
        }
    }
}
