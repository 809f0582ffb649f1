//! Certificates of one bed: a CA, the API server's own, one for each user, and the key that signs service account tokens.
//! Nothing here is reused by another bed or kept after it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making or signing one failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Writing one failed.
    #[error("cannot write a certificate: {0}")]
    Write(#[from] io::Error),
}

/// A CA whose files lie in one directory.
pub(crate) struct Certs {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

/// A certificate and its key, as files and as text.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pem: (String, String),
}

impl Certs {
    /// Makes the CA and the service account key in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir)?;
        let mut params = named("birdwatch-bed-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        let certs = Self {
            dir: dir.into(),
            issuer: Issuer::new(params, key),
            ca_pem,
        };
        fs::write(certs.ca(), &certs.ca_pem)?;
        let accounts = KeyPair::generate()?;
        fs::write(certs.account_key(), accounts.serialize_pem())?;
        fs::write(certs.account_public_key(), accounts.public_key_pem())?;
        Ok(certs)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn account_key(&self) -> PathBuf {
        self.dir.join("accounts.key")
    }

    pub(crate) fn account_public_key(&self) -> PathBuf {
        self.dir.join("accounts.pub")
    }

    /// A certificate for a server on loopback, under the names the API server has inside a cluster.
    pub(crate) fn server(&self, name: &str) -> Result<Pair, Error> {
        let names = ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"];
        let mut params = CertificateParams::new(names.map(String::from).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    /// A certificate that makes its holder the API user `user` of one group.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<Pair, Error> {
        let mut params = named(user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&user.replace(':', "-"), params)
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> Result<Pair, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = (params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem());
        let pair = Pair {
            cert: self.dir.join(format!("{file}.crt")),
            key: self.dir.join(format!("{file}.key")),
            pem,
        };
        fs::write(&pair.cert, &pair.pem.0)?;
        fs::write(&pair.key, &pair.pem.1)?;
        Ok(pair)
    }

    /// Writes a kubeconfig for the holder of `pair`.
    pub(crate) fn kubeconfig(&self, path: &Path, server: &str, user: &str, pair: &Pair) -> Result<(), Error> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {"server": server, "certificate-authority": self.ca()}}],
            "users": [{"name": user, "user": {"client-certificate": pair.cert, "client-key": pair.key}}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": user, "namespace": "default"}}],
            "current-context": "bed",
        });
        fs::write(path, config.to_string())?; // JSON is YAML too
        Ok(())
    }
}

impl Pair {
    /// Certificate, then key.
    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.pem.0, self.pem.1)
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
