#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "kv/cache.h"
#include "kv/width_chooser.h"
#include "policy/signals.h"

namespace miser::policy {

/// A way to spend bits. Numbers in, widths out: a policy never sees the codec.
class Policy : public kv::WidthChooser {
 public:
  /// The canonical text that parse() turns back into this policy.
  virtual std::string name() const = 0;
  /// Whether `choose` reads the paper's signals. They need the logits of every token of a block before it
  /// leaves, so the session then prefills in chunks of one block.
  virtual bool wants_token_signals() const { return false; }
  /// The centres that its decisions suppose; empty: those of the session.
  virtual kv::Centres centres() const { return {}; }
  /// What a policy learns from the text changes its decisions only at multiples of so many positions, and no
  /// chunk crosses one, so that decisions do not depend on chunks. 0: it learns nothing.
  virtual std::size_t decision_period() const { return 0; }
  /// ln of a sensitivity of the vectors of the block that choose() saw last, [K and V, n_tokens, n_kv_heads]:
  /// what a cache with a budget goes by when it demotes. Empty: the policy knows none. Valid until the next
  /// choose().
  virtual std::span<const float> ratings() const { return {}; }
  /// Forgets the text.
  virtual void clear() {}
  /// Takes over what `other` knows of its text. REQUIRES: a policy made like this one.
  virtual void copy_state(const Policy& /*other*/) {}
  /// The same between two chunks, through a file. load_state() throws Error for what no policy saved.
  virtual void save_state(ByteWriter& /*out*/) const {}
  virtual void load_state(ByteReader& /*in*/) {}
  /// The positions of tokens that are not sinks are `n` less from now on, a multiple of decision_period().
  virtual void renumber(std::size_t /*n*/) {}
  /// A hash of the plan that it was made from; 0: of none. With name() it says what the policy will do.
  virtual std::uint64_t plan_fingerprint() const { return 0; }
};

class Plans;

/// Makes the policy that `spec` names:
///   f16 | q8 | q4 | q3 | q2 | q1        one width for all
///   k3v2 (any pair of 1, 2, 3, 4, 8, 16)   one for keys, one for values
///   random:1=45,2=15,3=15,4=18,8=7[:SEED]  shares in per cent that sum to 100
///   rule                                a hand-made heuristic on the paper's signals
///   learned | static | received [:PLAN][@BITS]  widths from a plan, at a budget of stored bits per element
///   paper[:PLAN]                        the paper's controller, from a plan
/// Without PLAN, a file, it is the model's own plan, without BITS the plan's own budget. `history` outlives
/// the policy; `plans` may be null, for specs that need none. Throws UsageError that lists these for anything
/// else, Error when a plan cannot be used.
std::unique_ptr<Policy> parse(std::string_view spec, const SignalHistory& history,
                              const Plans* plans = nullptr);

/// The canonical text of `spec`, with the budget `bits` where it takes one and names none. Reads no plan.
/// Throws UsageError as parse() does.
std::string canonical(std::string_view spec, std::optional<float> bits = std::nullopt);

/// Whether all vectors of a side get the same width.
bool is_fixed(std::string_view spec);

}  // namespace miser::policy
