#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace miser::eval {

/// What a policy's logits of one position say beside the reference's.
struct TokenScore {
  double kl = 0;          ///< KL(reference || policy), nats
  double logprob = 0;     ///< ln of the probability of the next token under the policy
  bool same_top = false;  ///< whether both find the same token likeliest; of equals the lowest id
};

/// The reference's distribution at one position.
struct ReferenceRow {
  std::span<const float> logits;   ///< [n_vocab]
  std::span<const float> weights;  ///< [n_vocab], probability times `norm`
  double norm = 1;
  double weight_sum = 0;  ///< of `weights` over `norm`
  double log_sum = 0;     ///< ln sum exp(logits)
  std::size_t top = 0;    ///< id of the largest logit
  /// Whether the probabilities sum to 1; if not, KL is the part of the sum that their tokens make.
  bool complete = true;
};

/// Softmax of `logits`; `weights` [n_vocab] gets the exponentials. Both outlive the row.
ReferenceRow reference_row(std::span<const float> logits, std::span<float> weights);

/// The same of log-probabilities of which those at or below `floor` are unknown and left out of KL, as
/// llama-perplexity does.
ReferenceRow partial_reference_row(std::span<const float> log_probs, float floor, std::span<float> weights);

/// Compares `logits` [n_vocab] with the reference. Exponentials are floats, all sums double: the error of KL
/// is below 1e-7 nats, and relative to it below 1e-5 where KL is small. `next`: id of the token that
/// followed; `scratch` [n_vocab].
TokenScore score(const ReferenceRow& reference, std::span<const float> logits, std::int32_t next,
                 std::span<float> scratch);

}  // namespace miser::eval
