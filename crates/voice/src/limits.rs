//! Limits of this crate. Reaching one has the outcome written beside it.

use std::time::Duration;

/// Bytes of one Opus packet. The longest that clients send are 2.3 kB (browsers that put three
/// frames of 20 ms into one); a longer one is refused.
pub const PACKET_BYTES: usize = 4096;

/// Longest that one packet lasts, in milliseconds: what Opus allows (RFC 6716, 3.2.5).
pub const PACKET_MS: usize = 120;

/// Bytes that an encoded packet may have. libopus stays below it at every bit rate for speech; if it
/// cannot, it lowers the quality.
pub const ENCODED_BYTES: usize = 1275;

/// Bytes of a WAV before its sound. Writers put titles and the like there; a longer header is refused.
pub const WAV_HEADER_BYTES: usize = 64 << 10;

/// Bytes of a picture that a model is shown. A larger one is refused.
pub const PICTURE_BYTES: usize = 8 << 20;

/// Bytes of a model's whole answer as they come over the wire, what it thinks and the marks of the stream included. A
/// longer one is broken off, as something that makes no sense.
pub const STREAM_BYTES: usize = 16 << 20;

/// Bytes of the text that one model hands on: more than a turn takes. A longer one makes no sense.
pub const ANSWER_TEXT_BYTES: usize = 256 << 10;

/// Bytes of one event of a stream of server-sent events. A longer one breaks the answer off.
pub const EVENT_BYTES: usize = 1 << 20;

/// Tools that one answer may call: more than a turn does. With one more the whole answer fails.
pub const ANSWER_CALLS: usize = 64;

/// Bytes of the arguments of one call of a tool, and of its name and number together. With longer ones the whole answer
/// fails.
pub const ARGUMENTS_BYTES: usize = 64 << 10;

/// Bytes that are read of an error message. The rest is not waited for.
pub const ERROR_BODY_BYTES: usize = 16 << 10;

/// Characters of an error message that are shown. The rest is left out.
pub const ERROR_CHARACTERS: usize = 200;

/// Bytes of the answer of a recogniser. A longer one makes no sense.
pub const TRANSCRIPT_BYTES: usize = 256 << 10;

/// Bytes of the sound of one sentence: three minutes at 48 kHz. A longer one is broken off.
pub const SOUND_BYTES: usize = 16 << 20;

/// Bytes of sound that a program may write for one sentence: 95 s at 44.1 kHz in stereo. It fails, and is ended.
pub const PROGRAM_SOUND_BYTES: usize = 16 << 20;

/// Bytes of text that a program may write for what somebody said. It fails, and is ended.
pub const PROGRAM_TEXT_BYTES: usize = 64 << 10;

/// Characters of a sentence that is spoken by a model on this machine; what it needs of memory grows with them. A longer
/// one is refused.
pub const LOCAL_TEXT_CHARACTERS: usize = 1_000;

/// Bytes of what a program wrote to its standard error that a failure shows; the last ones.
pub const PROGRAM_LAST_WORDS_BYTES: usize = 500;

/// Bytes of one message that a provider may send over a WebSocket; some seconds of sound. A longer one ends the
/// connection, and the provider has failed.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 1 << 20;

/// Bytes that are read from a WebSocket at a time. It grows with longer messages.
pub const WEBSOCKET_BUFFER_BYTES: usize = 8 << 10;

/// Longest that saying goodbye over a WebSocket may take, in milliseconds. Then it is closed without.
pub const WEBSOCKET_CLOSE_MS: u64 = 500;

/// Between the first try and the second one, in milliseconds, where a provider can be asked once more.
pub const RETRY_PAUSE_MS: u64 = 250;

/// Samples of one utterance that go to FunASR: 60 s. Of what is said after that, nothing is recognised.
pub const FUNASR_SPEECH_SAMPLES: usize = 60 * 16_000;

/// Bytes of text of one utterance. More than anybody says in 60 s; what comes after is left out.
pub const FUNASR_TEXT_BYTES: usize = 16 << 10;

/// How long a FunASR server that never said what its last answer is must be quiet for it to be the last one, in
/// milliseconds.
pub const FUNASR_SETTLE_MS: u64 = 800;

/// Characters of one sentence for DashScope, which takes 20,000 and counts a Chinese one twice. A longer one is refused.
pub const DASHSCOPE_TEXT_CHARS: usize = 10_000;

/// Connections to DashScope that rest between sentences, for each provider. Where there are more, the one that has
/// rested longest is closed.
pub const DASHSCOPE_RESTING: usize = 4;

/// Longest that such a connection rests, in seconds; DashScope closes it after 60. Then it is closed.
pub const DASHSCOPE_REST_SECONDS: u64 = 45;

/// How long a connection that has rested may take to begin, in milliseconds. Then a new one is opened.
pub const DASHSCOPE_STALE_MS: u64 = 3_000;

/// How long the first sentence of an answer must be to end at a comma already: 24 letters, or 8 characters of Chinese.
pub const FIRST_CUT: usize = 24;

/// How long a sentence may be: 300 letters, or 100 characters of Chinese, some 20 s of speech. A longer one is cut behind
/// a comma, at a space, or where it reaches this.
pub const SENTENCE_WEIGHT: usize = 300;

/// Stops and closing marks that are looked at as one, and may stand behind the longest sentence; those behind them begin the
/// next.
pub const SENTENCE_STOPS: usize = 16;

/// Characters of the text of a link, its brackets counted. In a longer one the brackets are text.
pub const LINK_TEXT: usize = 200;

/// Characters of the address of a link, its brackets counted. A longer one is text.
pub const LINK_TARGET: usize = 2000;

/// Samples a second that a synthesiser may have. Others are refused, and the turn says that the voice failed.
pub const SOUND_RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Bytes of speech that are kept encoded, of prompts that are spoken again and again. What was not used for longest goes
/// first; a prompt of more than an eighth of this is not kept. 60 s are about 150 kB.
pub const PROMPT_BYTES: usize = 2 << 20;

/// Samples of one piece that a recogniser gets: 60 ms.
pub const SPEECH_PIECE: usize = 960;

/// Pieces of speech that wait for a recogniser: 30 s. It may be connecting still. If it is slower, the newest is left
/// out, and the log says how much was.
pub const SPEECH_WAITING: usize = 500;

/// Samples of one utterance: 120 s. What is said after that is left out; who drives the turn ends it.
pub const SPEECH_SAMPLES: usize = 120 * 16_000;

/// Bytes of what somebody said. More is cut off before the model sees it.
pub const HEARD_BYTES: usize = 8 << 10;

/// Parts of an answer that wait to be made sentences. The model waits then.
pub const PARTS_WAITING: usize = 16;

/// Sentences that wait to be synthesised, beside the two that are being. The model waits then.
pub const SENTENCES_WAITING: usize = 2;

/// Pieces of sound of one sentence that wait to be encoded. The synthesiser waits then.
pub const SOUNDS_WAITING: usize = 32;

/// What a turn has told and nobody has taken: about 1 s of speech. Everything behind it waits then.
pub const TOLD_WAITING: usize = 16;

/// Bytes of an answer of a model, over all its rounds. It is broken off there, and what came is what it said.
pub const ANSWER_BYTES: usize = 64 << 10;

/// Calls in one answer of a model. Those beyond are not made, and the model is told so.
pub const CALLS: usize = 16;

/// Bytes of what a tool answered that a model sees. The rest is cut off, and the model is told so.
pub const TOOL_BYTES: usize = 16 << 10;

/// Bytes of what a tool answered that are kept for later turns. The rest is cut off.
pub const TOOL_KEPT_BYTES: usize = 2 << 10;

/// Messages of a conversation that are kept. The oldest go, from one thing that somebody said to the next.
pub const TALK_MESSAGES: usize = 60;

/// Bytes of the messages of a conversation that are kept. The oldest go, too.
pub const TALK_BYTES: usize = 32 << 10;

/// Bytes of a summary of what was said before. More is cut off.
pub const SUMMARY_BYTES: usize = 4 << 10;

/// Bytes of one message of an MCP server, such as the answer of a tool. A longer one is not taken; the call fails.
pub const MCP_MESSAGE_BYTES: usize = 4 << 20;

/// How long an MCP server may take to start and say who it is. Then it is tried again.
pub const MCP_CONNECT: Duration = Duration::from_secs(30);

/// How long an MCP server may take to tell all of its tools. Then it is tried again.
pub const MCP_LIST: Duration = Duration::from_secs(30);

/// Pages of the list of an MCP server that are asked for. The rest is left out.
pub const MCP_PAGES: usize = 32;

/// Tools of one MCP server. More are left out.
pub const MCP_TOOLS: usize = 128;

/// Bytes of one tool: name, description and schema. A larger one is left out.
pub const MCP_TOOL_BYTES: usize = 32 << 10;

/// Bytes of all tools of one MCP server. What would be more is left out.
pub const MCP_TOOLS_BYTES: usize = 128 << 10;

/// Least time between two lists that an MCP server itself gave rise to.
pub const MCP_RELIST_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing is asked of an MCP server before it is asked whether it is still there.
pub const MCP_PING_PAUSE: Duration = Duration::from_secs(30);

/// How long an MCP server may take to say that it is still there. Then it is connected to anew.
pub const MCP_PING_WAIT: Duration = Duration::from_secs(20);

/// Calls of one MCP server that wait for their answer. More are refused.
pub const MCP_CALLS: usize = 32;

/// Bytes of the text of a tool's answer that a model is told. The rest is cut off.
pub const MCP_RESULT_BYTES: usize = 32 << 10;

/// Pause before an MCP server that failed is tried again; twice as long each time, up to the longest.
pub const MCP_FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest such pause.
pub const MCP_LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a connection must have lasted for the next pause to be the first one again.
pub const MCP_STABLE: Duration = Duration::from_secs(60);

/// Messages that wait between an MCP server that came to us and who reads them. While there are as many, it is not read.
pub const MCP_TEXTS: usize = 16;

/// Sound that a page of a recording has before the next one is begun, in milliseconds: what RFC 7845 section 4 asks for.
pub const OGG_PAGE_MS: u64 = 1_000;

/// Bytes by which the memory of a recording grows.
pub const OGG_STEP: usize = 16 << 10;
