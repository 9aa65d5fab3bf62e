-- SPDX-License-Identifier: MIT
-- wrk: GET of a path with ids in a scattered order, the same for every server.
--   BENCH_IDS   file with one id a line       BENCH_PATH   such as /api/users/%d
local requests, n = {}, 0

function init()
  local path = os.getenv("BENCH_PATH")
  for id in io.lines(os.getenv("BENCH_IDS")) do
    requests[#requests + 1] = "GET " .. string.gsub(path, "%%d", id) .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
  end
end

function request()
  n = n + 7919 -- prime: every id comes, neighbours far apart
  return requests[n % #requests + 1]
end
