#include "cli/run_interrupt.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace miser::cli {
namespace {

constexpr int kExitInterrupted = 128 + SIGINT;

std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

void on_interrupt(int) {
  if (g_interrupted.exchange(true)) _exit(kExitInterrupted);
}

// Without SA_RESTART: a read from the terminal ends with EINTR, so that a chat sees the flag.
void handle_with(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  g_interrupted = false;
  handle_with(on_interrupt);
}

Interrupt::~Interrupt() {
  handle_with(SIG_DFL);
}

const std::atomic<bool>& Interrupt::flag() {
  return g_interrupted;
}

bool Interrupt::take() {
  return g_interrupted.exchange(false);
}

void Interrupt::exit_by_signal() {
  handle_with(SIG_DFL);
  raise(SIGINT);
  std::_Exit(kExitInterrupted);
}

}  // namespace miser::cli
