local version = { usage = "usage: tidemark version\n\nPrints the version of the engine.\n" }

function version.main(common, arguments)
  common.parse(arguments, {}, 0, version.usage)
  common.write("tidemark ", require "tidemark".version, "\n")
  return 0
end

return version
