# Writes a source that holds files as they are: cmake -DOUT=x.cc "-DPLANS=a.gguf;b.gguf" -P built_in_plans.cmake
# The assembler's .incbin takes megabytes without work for the compiler, where a literal would take minutes.
set(source "#include \"session/built_in_plans.h\"\n\n")
set(table "")
set(count 0)
foreach(plan ${PLANS})
  get_filename_component(name ${plan} NAME)
  string(APPEND source "asm(\".section .rodata\\n.balign 32\\nmiser_plan_${count}:\\n.incbin \\\"${plan}\\\"\\n\"\n"
    "    \"miser_plan_${count}_end:\\n.byte 0\\n.previous\\n\");\n"
    "extern const std::byte miser_plan_${count}[], miser_plan_${count}_end[];\n\n")
  string(APPEND table "      {\"${name}\", {miser_plan_${count}, miser_plan_${count}_end}},\n")
  math(EXPR count "${count} + 1")
endforeach()
string(APPEND source "namespace miser {\n\nstd::span<const BuiltInPlan> built_in_plans() {\n")
if(count EQUAL 0)
  string(APPEND source "  return {};\n")
else()
  string(APPEND source "  static const BuiltInPlan kPlans[] = {\n${table}  };\n  return kPlans;\n")
endif()
string(APPEND source "}\n\n}  // namespace miser\n")
file(WRITE ${OUT} "${source}")
