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

constexpr std::size_t kHandlerStack = std::size_t{64}
                                      << 10U;  // a frame holds 11 KiB of AMX and AVX-512 state

// oneDNN's kernels use the stack pointer as an ordinary register, so a signal's frame on the stack of the
// thread would be written into the heap. The kernel gives signals of the process to the main thread.
void use_own_stack() {
  alignas(64) static char memory[kHandlerStack];
  stack_t stack = {};
  stack.ss_sp = memory;
  stack.ss_size = sizeof(memory);
  sigaltstack(&stack, nullptr);
}

// Without SA_RESTART: a read from the terminal ends with EINTR, so that a chat sees the flag.
void handle_with(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  g_interrupted = false;
  use_own_stack();
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
