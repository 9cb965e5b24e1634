// The connection to the agent: documents, and the stream that tells when to ask for them again.

const KEY = "nomos-token";
const SHORTEST = 1000;
const LONGEST = 30000;

let token = sessionStorage.getItem(KEY) ?? "";

// Takes the token out of the address, where `nomos ui` puts it, before anything else sees it. A fragment is sent nowhere.
export function takeToken() {
  if (!location.hash.startsWith("#token=")) return;
  setToken(decodeURIComponent(location.hash.slice("#token=".length)));
  history.replaceState(null, "", `${location.pathname}#/`);
}

export function setToken(value) {
  token = value || token;
  sessionStorage.setItem(KEY, token);
}

async function request(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    return await fetch(`api/${path}`, { headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    // `nomos ui` has ended, and another program may take its port: the token is not for that. Without an agent, `nomos ui` answers.
    if (["127.0.0.1", "[::1]", "localhost"].includes(location.hostname)) forgetToken();
    throw error;
  }
}

function forgetToken() {
  token = "";
  sessionStorage.removeItem(KEY);
}

// A document of the agent. The error has the status of the answer.
export async function read(path) {
  const answer = await request(path);
  if (!answer.ok) throw Object.assign(new Error(`the agent answers ${answer.status}`), { status: answer.status });
  return answer.json();
}

// Follows the changes for ever. `changed` is told the number of the newest, `state` how the connection stands.
export async function follow(changed, state) {
  for (let pause = SHORTEST; ; pause = Math.min(pause * 2, LONGEST)) {
    try {
      const answer = await request("events");
      if (answer.ok) {
        pause = SHORTEST / 2;
        state("live");
        await readEvents(answer.body, changed);
      } else if (answer.status === 401) {
        state("refused");
      } else {
        state(answer.status === 429 ? "crowded" : "lost");
        if (answer.status === 429) changed(0);
      }
    } catch {
      state("lost");
    }
    await new Promise((resolve) => setTimeout(resolve, pause * (0.75 + Math.random() / 2)));
  }
}

async function readEvents(body, changed) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) changed(Number(line.slice(6)));
    }
  }
}
