// SPDX-License-Identifier: Apache-2.0
// What decoders are made of. A step takes tokens as they come, all at once or a few at a time, and hands on what no
// later token can change; both ways give the same text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvant::text {

/// A token, or a part of one, on its way to text. Parts are whole characters.
struct Piece {
  std::string text;
  bool ends = true;  ///< the token ends here
};
using Pieces = std::vector<Piece>;

// Each run() takes the pieces that come next and gives those that follow from them; at the `last` call nothing comes
// after these, and a token that has begun has ended.

/// From the byte alphabet to bytes; tokens with other characters are bytes already. All become one token.
class ByteLevelStep {
 public:
  [[nodiscard]] Pieces run(const Pieces& pieces, bool last);

 private:
  std::string token_;  // so far
  std::string bytes_;  // of a character that is not complete
};

/// <0x41> is the byte 0x41. Runs of such tokens that form no characters become one U+FFFD for each byte, so that a run
/// is held until it ends.
class ByteFallbackStep {
 public:
  [[nodiscard]] Pieces run(const Pieces& pieces, bool last);

 private:
  void end_run(Pieces& out);

  std::string token_;
  std::string bytes_;  // of the run
};

/// All tokens become one.
class FuseStep {
 public:
  [[nodiscard]] Pieces run(Pieces pieces, bool last) const;
};

/// Replaces a fixed string in each token: of several places that overlap, the leftmost.
class ReplaceStep {
 public:
  /// Contract: `pattern` is not empty.
  ReplaceStep(std::string pattern, std::string content);
  [[nodiscard]] Pieces run(Pieces pieces, bool last);

 private:
  std::string replace(std::string_view part);

  std::string pattern_;
  std::string content_;
  // Knuth, Morris and Pratt: of each beginning of the pattern, how much of the pattern its end is the beginning of.
  std::vector<std::size_t> borders_;
  std::size_t matched_ = 0;  // characters of the pattern that the token so far ends with, not handed on
};

/// Takes up to `start` and then `stop` times the character `content` off the two ends of each token.
class StripStep {
 public:
  StripStep(std::string content, std::size_t start, std::size_t stop);
  [[nodiscard]] Pieces run(Pieces pieces, bool last);

 private:
  std::string strip(std::string_view part, bool ends);

  std::string content_;
  std::size_t start_;
  std::size_t stop_;
  std::size_t taken_ = 0;  // off the token's start
  bool begun_ = false;     // something of the token stays
  std::size_t held_ = 0;   // how often the token so far ends with `content`, at most `stop`
};

/// A visible space is a space, and nothing in the first token where texts are given one when they are encoded.
class SpacesStep {
 public:
  SpacesStep(std::string replacement, bool drop_first);
  [[nodiscard]] Pieces run(Pieces pieces, bool last);

 private:
  std::string replacement_;
  bool drop_;  // in this token
};

/// WordPiece: a space before each token but the first, unless it continues a word, whose prefix is taken off; `cleanup`
/// then takes spaces before punctuation and English contractions away.
class WordPieceStep {
 public:
  WordPieceStep(std::string prefix, bool cleanup);
  [[nodiscard]] Pieces run(const Pieces& pieces, bool last);

 private:
  [[nodiscard]] std::string word() const;

  std::string prefix_;
  bool cleanup_;
  std::string token_;  // so far
  bool first_ = true;
};

/// SentencePiece: visible spaces are spaces, and the first one is dropped where texts are given one when they are
/// encoded. Runs of byte tokens are bytes; each that is part of no character is one U+FFFD.
class PieceStep {
 public:
  struct Settings {
    bool bytes = false;              ///< there are byte tokens
    bool drop_first_space = true;    ///< of the text
    bool drop_each_at_start = true;  ///< of each token, until there is text
  };
  explicit PieceStep(Settings settings) : settings_(settings) {}
  [[nodiscard]] Pieces run(const Pieces& pieces, bool last);

 private:
  void end_bytes(std::size_t count, Pieces& out);
  void give(std::string text, Pieces& out);

  Settings settings_;
  std::string bytes_;  // of a character that is not complete
  bool at_start_ = true;
  bool dropped_ = false;  // the first space
};

/// What stands in for a decoder where a file has none: a space between tokens.
class JoinStep {
 public:
  [[nodiscard]] Pieces run(Pieces pieces, bool last);

 private:
  bool first_ = true;
};

}  // namespace kvant::text
