#pragma once
#include <string>

namespace miser::cli {

/// Path of the model that is used when no `-m` is given: SmolLM2-135M-Instruct.Q4_1.gguf in $MISER_MODEL_DIR,
/// or else in $XDG_CACHE_HOME/miser/models, or else in ~/.cache/miser/models. tools/fetch_model.sh puts it
/// there and looks for it by the same rule. Throws Error when the file is missing; its contents are not
/// looked at.
std::string default_model_path();

}  // namespace miser::cli
