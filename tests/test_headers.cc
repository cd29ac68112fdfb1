// For CMake: the headers that it compiles before the tests belong to a target, and a target has a source.
